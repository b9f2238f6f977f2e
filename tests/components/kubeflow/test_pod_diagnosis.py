"""What a run died of, told by pods as Kubeflow Pipelines 2.17 and Argo 4.0 make them."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client

from slipway.components.kubeflow import argo_workflow, pod_diagnosis
from slipway.components.kubeflow.argo_workflow import last_attempts, nodes, task_of
from slipway.components.kubeflow.pod_diagnosis import Diagnosis, cancelled, diagnose, first_cause
from slipway.components.step_runtime.kfp_component import EXECUTOR
from tests.components.kubeflow.test_log_excerpt import (
    ARGO_END,
    DRIVER_START,
    IMPORT_ERROR,
    REFUSALS,
    STEP,
    STEP_END,
    WHICH,
)

NOW = datetime(2026, 11, 26, 20, 0, tzinfo=UTC)
STEPS = "slipway-2z8wt(0).root(0).exit-handler-1(0)"
REFUSED = f"{DRIVER_START}F1126 19:31:24.543210 17 main.go:127] KFP driver: {WHICH} failed: {REFUSALS[0]}\n{ARGO_END}"
PULL = 'Back-off pulling image "dev.local/absent:1": not found'


class Logs(dict[str, str]):
    """Logs by pod, of the container `main` unless the name says another."""

    messages: tuple[str, ...] = ()

    def log(self, pod: str, container: str) -> str:
        """The log of one container."""
        return self.get(f"{pod}/{container}", self.get(pod, "") if container == "main" else "")

    def events(self, pod: str) -> list[str]:
        """The warnings of all pods."""
        assert pod
        return list(self.messages)


def ended(code: int, reason: str = "", minute: int = 0, message: str | None = None) -> client.V1ContainerState:
    """The state of a container that ended at a minute."""
    reason = reason or ("Error" if code else "Completed")
    at = NOW - timedelta(minutes=60 - minute)
    return client.V1ContainerState(
        terminated=client.V1ContainerStateTerminated(exit_code=code, reason=reason, finished_at=at, message=message)
    )


def waiting(reason: str, message: str | None = None) -> client.V1ContainerState:
    """The state of a container that waits."""
    return client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason=reason, message=message))


def pod(
    node: str,
    name: str,
    main: client.V1ContainerState | None = None,
    age_s: float = 3600,
    init: client.V1ContainerState | None = None,
    wait: client.V1ContainerState | None = None,
    annotated: bool = True,
    volumes: list[Any] | None = None,
    **status: Any,
) -> client.V1Pod:
    """The pod of an Argo node: a driver, or an executor with its init container."""
    driver = "-driver" in node
    task = node.split(".")[-1 if driver else -2].partition("(")[0].removesuffix("-driver")
    arguments = ["--type", "CONTAINER", "--task_name", task]
    if not driver:
        function = task.replace("-", "_")
        arguments = [
            "slipway.components.step_runtime.step_program",
            EXECUTOR,
            f"slipway.components.{function}.component:{function}",
            "{}",
        ]
    annotations = {"pipelines.kubeflow.org/runtime-role": "driver" if driver else "launcher"}
    annotations["workflows.argoproj.io/node-name"] = node
    limits = client.V1ResourceRequirements(limits={"memory": "2Gi", "cpu": "1"})
    states = {"main": main or ended(0), "wait": wait or ended(0)}
    usual = {"phase": "Failed" if any(s.terminated and s.terminated.exit_code for s in states.values()) else "Pending"}
    return client.V1Pod(
        metadata=client.V1ObjectMeta(
            name=name,
            annotations=annotations if annotated else None,
            creation_timestamp=NOW - timedelta(seconds=age_s),
        ),
        spec=client.V1PodSpec(
            init_containers=[client.V1Container(name="init"), client.V1Container(name="kfp-launcher")],
            containers=[
                client.V1Container(name="main", command=["/var/run/argo/argoexec"], args=arguments, resources=limits),
                client.V1Container(name="wait"),
            ],
            volumes=volumes,
        ),
        status=client.V1PodStatus(
            **usual | status,
            init_container_statuses=[container("init", ended(0)), container("kfp-launcher", init or ended(0))],
            container_statuses=[container(name, state) for name, state in states.items()],
        ),
    )


def container(name: str, state: client.V1ContainerState) -> client.V1ContainerStatus:
    """The status of a container."""
    return client.V1ContainerStatus(
        name=name, state=state, image=f"dev.local/{name}:1", image_id="", ready=False, restart_count=0
    )


def succeeded(task: str) -> client.V1Pod:
    """An executor that did its work."""
    return pod(f"{STEPS}.{task}(0).executor(0)", f"pod-{task}", phase="Succeeded")


def found(pods: list[client.V1Pod], **logs: str) -> Diagnosis:
    """The diagnosis, of which there must be one."""
    diagnosis = first_cause(pods, Logs({name.replace("_", "-"): log for name, log in logs.items()}), NOW)
    assert diagnosis
    return diagnosis


def test_a_driver_s_error_is_the_cause_and_names_its_task() -> None:
    """As in the run of which `choose` had no pod but its driver's, and the report blamed preflight."""
    driver = pod(f"{STEPS}.select-model(0).choose-driver(0)", "p-1", ended(1), wait=ended(1, message="cannot save"))
    assert found([succeeded("preflight"), driver, succeeded("plan")], p_1=REFUSED) == Diagnosis(
        "choose", f"the driver refused the task: {REFUSALS[0]}", [REFUSALS[0]], "p-1"
    )


def test_the_first_driver_is_the_pipeline_s_own() -> None:
    driver = pod("slipway-2z8wt(0).root-driver(0)", "p-1", ended(1))
    assert found([driver], p_1=REFUSED).task == "pipeline"


def test_a_driver_that_says_nothing_is_told_by_its_exit_code() -> None:
    driver = pod(f"{STEPS}.train-driver(0)", "p-1", ended(1))
    assert found([driver]).cause == "the driver failed without a word (exit code 1)"


def test_an_import_error_is_the_cause() -> None:
    step = pod(f"{STEPS}.preflight(0).executor(0)", "p-1", ended(1))
    diagnosis = found([step], p_1=STEP + IMPORT_ERROR + STEP_END)
    assert diagnosis.task == "preflight"
    words = "ModuleNotFoundError: No module named 'components.absent'"
    assert diagnosis.cause == f"the step's program could not be imported: {words}"
    assert diagnosis.lines[-2:] == ["    from components.absent import check", words]


def test_a_python_without_kfp_cannot_import_either() -> None:
    step = pod(f"{STEPS}.preflight(0).executor(0)", "p-1", ended(1))
    log = f"{STEP}/usr/bin/python3: No module named kfp\n{STEP_END}"
    assert found([step], p_1=log).cause.startswith("the step's program could not be imported: /usr/bin/python3: No")


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_cannot_be_pulled_is_named(reason: str) -> None:
    step = pod(f"{STEPS}.prepare-data(0).executor(0)", "p-1", waiting(reason, PULL), wait=waiting("PodInitializing"))
    assert found([step]) == Diagnosis(
        "prepare_data", "the image dev.local/main:1 cannot be pulled", [f"{reason}: {PULL}"], "p-1"
    )


def test_an_image_may_still_come_to_a_pod_that_is_new() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", waiting("ErrImagePull", PULL), age_s=5)
    assert first_cause([step], Logs(), NOW) is None


def test_the_launcher_s_image_counts_too() -> None:
    states = {"init": waiting("ImagePullBackOff", PULL), "wait": waiting("PodInitializing")}
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", waiting("PodInitializing"), **states)
    assert found([step]).cause == "the image dev.local/kfp-launcher:1 cannot be pulled"


def test_out_of_memory_tells_the_limit() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(137, "OOMKilled"))
    diagnosis = found([step], p_1=STEP + "[train] epoch 1\n")
    assert (diagnosis.task, diagnosis.cause) == ("train", "out of memory (limit 2Gi)")
    assert diagnosis.lines == ["[train] epoch 1"]


def test_a_program_that_was_killed_below_its_launcher_was_most_likely_out_of_memory() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(1))
    log = STEP + "F1126 18:48:08.000003 18 main.go:58] failed to execute component: signal: killed\n" + ARGO_END
    assert found([step], p_1=log).cause == "killed, most likely out of memory (limit 2Gi)"


def test_a_killed_step_says_by_what() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(143))
    cause = found([step]).cause
    assert cause == "killed by SIGTERM: by its node, or because somebody ended the run or the pod"


def test_the_first_failure_in_time_is_the_cause_and_a_killed_pod_is_a_consequence() -> None:
    killed = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(143, minute=1))
    late = pod(f"{STEPS}.evaluate(0).executor(0)", "p-2", ended(1, minute=9))
    early = pod(f"{STEPS}.compress(0).executor(0)", "p-3", ended(1, minute=5))
    assert found([killed, late, early]).pod == "p-3"
    stuck = pod(f"{STEPS}.register(0).executor(0)", "p-4", waiting("ImagePullBackOff", PULL))
    assert found([stuck, killed, late, early]).pod == "p-3"
    assert found([killed, stuck]).pod == "p-4"
    hungry = pod(f"{STEPS}.plan(0).executor(0)", "p-5", ended(137, "OOMKilled", minute=2))
    assert found([killed, early, hungry]).pod == "p-5"


def test_an_exit_task_s_failure_counts_only_when_there_is_no_other() -> None:
    """The report of a run with a broken image fails like the step before it."""
    report = pod("w(0).root(0).exit-handler-1.onExit(0).report(0).executor(0)", "p-1", ended(1, minute=1))
    step = pod(f"{STEPS}.preflight(0).executor(0)", "p-2", ended(143, minute=5))
    assert found([report, step]).task == "preflight"
    assert found([report]).task == "report"


def test_a_retry_that_succeeded_makes_its_failures_past() -> None:
    def attempt(number: int, **how: Any) -> client.V1Pod:
        return pod(f"{STEPS}.train(0).executor({number})", f"p-{number}", **how)

    assert first_cause([attempt(1, phase="Succeeded"), attempt(0, main=ended(1))], Logs(), NOW) is None
    assert first_cause([attempt(0, main=ended(1)), attempt(1, phase="Running")], Logs(), NOW) is None
    assert found([attempt(10, main=ended(1)), attempt(9, main=ended(137, "OOMKilled"))]).pod == "p-10"


def test_iterations_of_a_loop_are_no_retries() -> None:
    loop = f"{STEPS}.for-loop-2(0).iteration-iterations"
    first = pod(f"{loop}(0:0)(0).cross-validate(0).executor(0)", "p-1", ended(1))
    second = pod(f"{loop}(1:1)(0).cross-validate(0).executor(0)", "p-2", phase="Succeeded")
    assert found([first, second]).task == "cross_validate"


def test_an_evicted_pod_tells_its_own_words_and_when_it_ended() -> None:
    words = "The node was low on resource: memory."
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(137, minute=9), reason="Evicted", message=words)
    assert found([step]).cause == f"the pod was ended: Evicted: {words}"
    before = pod(f"{STEPS}.plan(0).executor(0)", "p-2", ended(1, minute=5))
    assert found([step, before]).pod == "p-2"


def test_a_deadline_ends_a_pod_that_waits_but_what_it_waited_for_is_the_cause() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", waiting("ImagePullBackOff", PULL), phase="Failed")
    step.status.reason = "DeadlineExceeded"
    assert found([step]).cause == "the image dev.local/main:1 cannot be pulled"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('secret "slipway-s3" not found', "the Secret slipway-s3 is missing"),
        ('configmap "slipway-public-key" not found', "the ConfigMap slipway-public-key is missing"),
        ("couldn't find key A in Secret kubeflow/slipway-s3", "the Secret slipway-s3 has no key A"),
        (
            "container has runAsNonRoot and image will run as root",
            "the container cannot be configured: CreateContainerConfigError: container has runAsNonRoot and image will "
            "run as root",
        ),
    ],
)
def test_what_a_container_lacks_is_named(message: str, cause: str) -> None:
    step = pod(f"{STEPS}.register(0).executor(0)", "p-1", waiting("CreateContainerConfigError", message))
    assert found([step]).cause == cause


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("0/3 nodes are available: 3 Insufficient memory.", "no node has room"),
        ("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity.", "no node can take the pod"),
    ],
)
def test_a_pod_without_a_node_says_what_the_scheduler_says(message: str, cause: str) -> None:
    condition = client.V1PodCondition(type="PodScheduled", status="False", reason="Unschedulable", message=message)
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", phase="Pending", conditions=[condition])
    step.status.container_statuses = step.status.init_container_statuses = None
    assert found([step]).cause == f"{cause}: Unschedulable: {message}"


def mounting() -> client.V1Pod:
    """A pod of which no container starts, since a volume does not come."""
    secret = client.V1Volume(name="key", secret=client.V1SecretVolumeSource(secret_name="slipway-signing"))
    optional = client.V1SecretVolumeSource(secret_name="slipway-encryption", optional=True)
    state = waiting("PodInitializing")
    volumes = [secret, client.V1Volume(name="more", secret=optional), client.V1Volume(name="empty")]
    step = pod(f"{STEPS}.register(0).executor(0)", "p-1", state, init=state, wait=state, volumes=volumes)
    step.status.init_container_statuses[0].state = state
    return step


def test_a_secret_that_cannot_be_mounted_is_named_by_the_events() -> None:
    logs = Logs()
    logs.messages = ('MountVolume.SetUp failed for volume "key": secret "slipway-signing" not found', "timed out")
    diagnosis = first_cause([mounting()], logs, NOW)
    assert diagnosis
    assert (diagnosis.cause, diagnosis.lines) == ("the Secret slipway-signing is missing", [logs.messages[0]])


def test_without_a_right_to_events_what_the_volumes_need_is_told() -> None:
    assert found([mounting()]).cause.endswith("; its volumes need Secret slipway-signing")


def test_the_task_is_known_without_argo_s_annotation() -> None:
    step = pod(f"{STEPS}.prepare-data(0).executor(0)", "p-1", ended(1), annotated=False)
    driver = pod(f"{STEPS}.prepare-data-driver(0)", "p-2", ended(1), annotated=False)
    assert found([step]).task == "prepare_data"
    assert found([driver], p_2=REFUSED)[:2] == ("prepare_data", f"the driver refused the task: {REFUSALS[0]}")


def test_a_container_beside_the_step_is_named() -> None:
    step = pod(f"{STEPS}.train(0).executor(0)", "p-1", ended(0), wait=ended(64, message="no rights"))
    assert found([step]).cause == "the container wait failed (exit code 64): no rights"


def test_nothing_failed() -> None:
    running = pod(f"{STEPS}.train(0).executor(0)", "p-1", phase="Running")
    assert first_cause([succeeded("preflight"), running], Logs(), NOW) is None
    assert first_cause([], Logs(), NOW) is None


WORKFLOW: dict[str, Any] = {
    "spec": {},
    "status": {
        "nodes": {
            "a": {"id": "a", "name": "w(0).root(0)", "type": "DAG", "phase": "Failed", "finishedAt": "2026-01-01"},
            "b": {
                "id": "b",
                "name": "w(0).root(0).prepare-data(0).executor(0)",
                "type": "Pod",
                "phase": "Error",
                "message": "pod deleted",
                "finishedAt": "2026-01-02T00:00:00Z",
            },
            "c": {"id": "c", "name": "w(0).root(0).prepare-data(0).executor(1)", "type": "Pod", "phase": "Succeeded"},
            "d": {
                "id": "d",
                "name": "w(0).root(0).train(0).executor(0)",
                "type": "Pod",
                "phase": "Failed",
                "message": "main: OOMKilled (exit code 137)",
                "finishedAt": "2026-01-03T00:00:00Z",
            },
        }
    },
}


@pytest.fixture
def workflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The only thing that is left of a run: its pods are gone."""
    workflow: dict[str, Any] = json.loads(json.dumps(WORKFLOW))
    monkeypatch.setattr(argo_workflow, "workflows", lambda *_: [workflow])
    monkeypatch.setattr(pod_diagnosis, "connect", lambda: None)
    monkeypatch.setattr(client.CoreV1Api, "list_namespaced_pod", lambda *_, **__: client.V1PodList(items=[]))
    return workflow


def test_when_the_pods_are_gone_the_workflow_tells_what_it_kept(workflow: dict[str, Any]) -> None:
    words = "main: OOMKilled (exit code 137)"
    expected = Diagnosis("train", f"its pod is gone; Argo keeps of it: {words}", [words], "d")
    assert diagnose("run-1", "kubeflow") == expected
    packed = gzip.compress(json.dumps(workflow["status"]["nodes"]).encode())
    workflow["status"] = {"compressedNodes": base64.b64encode(packed).decode()}
    assert diagnose("run-1", "kubeflow") == expected


def test_a_workflow_without_a_failure_has_no_cause(workflow: dict[str, Any]) -> None:
    workflow["status"] = {}
    assert diagnose("run-1", "kubeflow") is None


@pytest.mark.parametrize(
    ("spec", "ended"),
    [
        ({}, False),
        ({"activeDeadlineSeconds": 3600}, False),
        ({"activeDeadlineSeconds": 0}, True),
        ({"shutdown": "Terminate"}, True),
        ({"shutdown": "Stop"}, True),
    ],
)
def test_who_ends_a_run_leaves_a_sign(workflow: dict[str, Any], spec: dict[str, Any], ended: bool) -> None:
    workflow["spec"] = spec
    assert cancelled("run-1", "kubeflow") is ended


def test_without_a_cluster_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert diagnose("run-1", "kubeflow") is None
    assert cancelled("run-1", "kubeflow") is False
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("what run run-1 died of cannot be seen (there is no cluster to talk to")
    assert second.startswith("whether run run-1 was terminated cannot be seen (there is no cluster to talk to")


def test_nodes_are_named_by_path_and_attempt() -> None:
    names = ["w(0).a(0).executor(2)", "w(0).a(1).executor(0)", "w(0).b(1:1)(0)", "w(0).b(2:2)(0)"]
    assert [name for name, _ in last_attempts((name, None) for name in names)] == names[1:]
    assert task_of("w(0).root(0).exit-handler-1(0).prepare-data-driver(0)") == "prepare_data"
    assert task_of("w(0).root-driver(0)") == "pipeline"
    assert nodes({}) == []
