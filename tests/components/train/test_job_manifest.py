"""The PyTorchJob that a training becomes."""

import re
from pathlib import Path
from typing import Any

import pytest

from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train.job_manifest import first_pod, job_manifest


def job(processes: int = 2, **changes: Any) -> dict[str, Any]:
    """The job of a training of some processes, in the namespace `slipway`."""
    settings = ClusterSettings.model_validate(changes)
    train = TrainSettings(processes=processes)
    return job_manifest("train-1a2b3c4d-5e6f70", "1a2b", "s3://b/trainings/1a2b", train, settings, "slipway")


def replicas(manifest: dict[str, Any]) -> dict[str, int]:
    """How many pods each role has."""
    return {role: group["replicas"] for role, group in manifest["spec"]["pytorchReplicaSpecs"].items()}


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is asked of the first role's pods."""
    roles: dict[str, dict[str, Any]] = manifest["spec"]["pytorchReplicaSpecs"]
    first: dict[str, Any] = next(iter(roles.values()))["template"]["spec"]
    return first


def test_processes_become_a_master_and_workers_or_workers_only() -> None:
    assert replicas(job(4)) == {"Master": 1, "Worker": 3}
    assert replicas(job(1)) == {"Master": 1}
    assert replicas(job(4, elastic=True)) == {"Worker": 4}
    assert replicas(job(4, processes_per_pod=2)) == {"Master": 1, "Worker": 1}
    with pytest.raises(BadInput, match="3 processes do not fill pods of 2"):
        job(3, processes_per_pod=2)


def test_an_elastic_job_keeps_its_number_of_workers() -> None:
    policy = job(3, elastic=True)["spec"]["elasticPolicy"]
    assert policy["minReplicas"] == policy["maxReplicas"] == 3
    assert "elasticPolicy" not in job(3)["spec"]


def test_the_pod_of_the_first_process_is_known() -> None:
    assert first_pod("train-1", ClusterSettings()) == "train-1-master-0"
    assert first_pod("train-1", ClusterSettings(elastic=True)) == "train-1-worker-0"


@pytest.mark.parametrize("elastic", [False, True])
def test_no_job_goes_on_for_ever(elastic: bool) -> None:
    policy = job(elastic=elastic, restarts=3, deadline_s=600)["spec"]["runPolicy"]
    assert policy["backoffLimit"] == 3
    assert policy["activeDeadlineSeconds"] == 600
    assert policy["ttlSecondsAfterFinished"] > 0


def test_the_operator_s_demands_are_met() -> None:
    manifest = job()
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", manifest["metadata"]["name"])
    assert isinstance(manifest["spec"]["nprocPerNode"], str)
    assert [container["name"] for container in pod(manifest)["containers"]] == ["pytorch"]


def test_secrets_are_referred_to_and_the_pod_has_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.setenv(name, "never-shown")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://someone:never-shown@mlflow.example.com")
    manifest = job(secret="store-access")
    assert "never-shown" not in str(manifest)
    (container,) = pod(manifest)["containers"]
    assert container["envFrom"] == [
        {"secretRef": {"name": "store-access"}},
        {"secretRef": {"name": "slipway-hub", "optional": True}},
    ]
    assert pod(manifest)["automountServiceAccountToken"] is False
    assert pod(manifest)["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_the_job_belongs_to_the_step_s_pod_when_that_is_in_the_same_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job()["metadata"]["ownerReferences"] == []
    for name, value in {"KFP_POD_NAME": "step", "KFP_POD_UID": "uid-1", "KFP_NAMESPACE": "slipway"}.items():
        monkeypatch.setenv(name, value)
    assert not Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace").exists()
    assert job()["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "uid-1"}]
    monkeypatch.setenv("KFP_NAMESPACE", "elsewhere")
    assert job()["metadata"]["ownerReferences"] == []


def test_only_the_job_carries_its_queue_and_only_when_there_is_one() -> None:
    queue = "kueue.x-k8s.io/queue-name"
    assert queue not in str(job())
    manifest = job(queue="small-jobs")
    assert manifest["metadata"]["labels"][queue] == "small-jobs"
    assert queue not in str(manifest["spec"])
    with pytest.raises(ValueError, match="queue"):
        job(queue="Small Jobs")


def test_the_job_and_its_pods_carry_their_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_RUN_ID", "c1f0e9a2-7f0e-4b5e-8c52-0d5f6a1c9e11")
    manifest = job()
    (group, *_) = manifest["spec"]["pytorchReplicaSpecs"].values()
    for labels in (manifest["metadata"]["labels"], group["template"]["metadata"]["labels"]):
        assert labels["slipway.dev/run"] == "c1f0e9a2-7f0e-4b5e-8c52-0d5f6a1c9e11"


@pytest.mark.parametrize("run", ["", "a b", "-a", "a" * 64, "run/1"])
def test_a_run_whose_id_is_no_label_s_value_is_left_out(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_RUN_ID", run)
    assert "slipway.dev/run" not in str(job())


def test_the_pods_know_the_step_s_run_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLFLOW_RUN_ID": "1a2b", "MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_WORKSPACE": "team"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    (container,) = pod(job())["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert given.items() <= environment.items()
