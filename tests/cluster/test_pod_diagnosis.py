"""What a run died of, told by real pods in the form of Kubeflow Pipelines and with no more than its rights."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.components.kubeflow.pod_diagnosis import Diagnosis, cancelled, created, diagnose
from slipway.components.step_runtime.kfp_component import EXECUTOR
from tests.cluster import workflows
from tests.cluster.access import Cluster
from tests.components.kubeflow.test_log_excerpt import (
    ARGO_END,
    DRIVER_START,
    IMPORT_ERROR,
    REFUSALS,
    STEP,
    STEP_END,
    WHICH,
)

pytestmark = pytest.mark.cluster

ACCOUNT = "pipeline-runner"
RULES = [
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["get", "list"]},
]
"""Of the Role `pipeline-runner` of Kubeflow Pipelines, what a diagnosis needs."""

WAIT_SECONDS = 120.0
REFUSED = f"{DRIVER_START}F1126 19:31:24.543210 17 main.go:127] KFP driver: {WHICH} failed: {REFUSALS[0]}\n{ARGO_END}"
ABSENT = "dev.local/absent:1"


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace like the one that Kubeflow Pipelines runs steps in."""
    name = f"diagnosis-{uuid.uuid4().hex[:6]}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": ACCOUNT, "namespace": name}}
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT}
    try:
        cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": role["metadata"]},
            role | {"kind": "Role", "rules": RULES},
            role | {"kind": "RoleBinding", "subjects": [account], "roleRef": reference},
        )
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def pod(cluster: Cluster, node: str, run: str, words: str, ending: str = "exit 1", **main: Any) -> dict[str, Any]:
    """The pod of an Argo node that writes its log and ends as told."""
    driver = "-driver" in node
    arguments = (
        ["--type", "CONTAINER", "--task_name", "choose"]
        if driver
        else [EXECUTOR, "slipway.components.train.component:train"]
    )
    script = f"cat >&2 <<'END'\n{words}END\n{ending}"
    usual: dict[str, Any] = {"image": cluster.busybox, "imagePullPolicy": "IfNotPresent"}
    commanded = {"command": ["sh", "-c", script, "argoexec"], "args": arguments}
    idle = {"command": ["true"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"slipway-2z8wt-{run}",
            "labels": {
                "pipeline/runid": run,
                "workflows.argoproj.io/workflow": "slipway-2z8wt",
                "pipelines.kubeflow.org/v2_component": "true",
            },
            "annotations": {
                "workflows.argoproj.io/node-name": f"slipway-2z8wt(0).root(0).{node}",
                "pipelines.kubeflow.org/runtime-role": "driver" if driver else "launcher",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "initContainers": [usual | idle | {"name": name} for name in ("init", "kfp-launcher")],
            "containers": [usual | commanded | {"name": "main"} | main, usual | idle | {"name": "wait"}],
        },
    }


FAILURES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "driver": (
        {"node": "select-model(0).choose-driver(0)", "words": REFUSED},
        "choose",
        f"the driver refused the task: {REFUSALS[0]}",
        REFUSALS[0],
    ),
    "import": (
        {"node": "preflight(0).executor(0)", "words": STEP + IMPORT_ERROR + STEP_END},
        "preflight",
        "the step's program could not be imported: ModuleNotFoundError: No module named 'components.absent'",
        "ModuleNotFoundError: No module named 'components.absent'",
    ),
    "image": (
        {"node": "prepare-data(0).executor(0)", "words": "", "image": ABSENT},
        "prepare_data",
        f"the image {ABSENT} cannot be pulled",
        ABSENT,
    ),
    "memory": (
        {
            "node": "train(0).executor(0)",
            "words": "[train] epoch 1\n",
            "ending": "tail /dev/zero",
            "resources": {"limits": {"memory": "32Mi"}},
        },
        "train",
        "out of memory (limit 32Mi)",
        "[train] epoch 1",
    ),
    "secret": (
        {
            "node": "register(0).executor(0)",
            "words": "",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "slipway-s3", "key": "A"}}}],
        },
        "register",
        "the Secret slipway-s3 is missing",
        'secret "slipway-s3" not found',
    ),
    "killed": (
        {"node": "evaluate(0).executor(0)", "words": "scoring\n", "ending": "exit 143"},
        "evaluate",
        "killed by SIGTERM: by its node, or because somebody ended the run or the pod",
        "scoring",
    ),
}


@pytest.fixture(scope="module")
def failed(cluster: Cluster, namespace: str) -> str:
    """The namespace, with a run for each kind of failure, all at once since some take their time."""
    pods = [pod(cluster, run=f"run-{kind}", **how) for kind, (how, *_) in FAILURES.items()]
    cluster.apply(*(each | {"metadata": each["metadata"] | {"namespace": namespace}} for each in pods))
    return namespace


@pytest.fixture
def account(cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the cluster with the rights of `pipeline-runner`."""
    monkeypatch.setenv("KUBECONFIG", cluster.as_account(ACCOUNT, namespace, tmp_path))


def eventually(look: Callable[[], Diagnosis | None]) -> Diagnosis:
    """What is found once it is there."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing was found within {WAIT_SECONDS:.0f} s")


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.usefixtures("account")
def test_a_pod_tells_why_it_failed(failed: str, kind: str) -> None:
    _, task, cause, line = FAILURES[kind]
    found = eventually(lambda: diagnose(f"run-{kind}", failed))
    assert (found.task, found.cause, found.pod) == (task, cause, f"slipway-2z8wt-run-{kind}")
    assert any(line in each for each in found.lines), found.lines


def test_without_rights_one_line_says_so(
    cluster: Cluster, failed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster.as_account("default", failed, tmp_path))
    assert diagnose("run-driver", failed) is None
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "the cluster does not let us list pods" in said[0]


@pytest.mark.usefixtures("account", "workflow_kind")
def test_a_run_that_somebody_terminated_is_known(cluster: Cluster, namespace: str) -> None:
    began = time.time()
    for run in ("terminated", "other"):
        workflows.make(cluster, namespace, run)
    assert not cancelled("terminated", namespace)
    assert not cancelled("absent", namespace)
    workflows.terminate(cluster, namespace, "terminated")
    assert cancelled("terminated", namespace)
    assert not cancelled("other", namespace)
    assert created("other", namespace) == pytest.approx(began, abs=60)
    assert created("absent", namespace) is None
