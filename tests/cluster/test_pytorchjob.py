"""Trainings in pods of a real cluster, driven with the rights of the pipeline's service account."""

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from mlflow import MlflowClient

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train import step
from slipway.components.train.pytorchjob import PyTorchJobLauncher
from slipway.components.train.remote import newest_checkpoint
from slipway.components.train.result import TrainResult
from slipway.pipelines.cluster_preflight import check_admitted
from tests.background import Background, eventually
from tests.cluster.conftest import Platform
from tests.components.train.launcher_contract import LauncherContract

pytestmark = pytest.mark.cluster
JOBS = "pytorchjobs.kubeflow.org"
DONE_HERE: dict[str, TrainResult] = {}


class Trainings:
    """Starts trainings of the small dataset, each with a place of its own in the store."""

    def __init__(self, platform: Platform, dataset: TextDataset, encoder: Path, folder: Path) -> None:
        self.platform, self.dataset, self.encoder, self.folder = platform, dataset, encoder, folder
        self.store = platform.new_store()

    def train_settings(self, **changes: Any) -> TrainSettings:
        """A training of two processes that takes a moment."""
        usual = {"encoder": str(self.encoder), "max_length": 32, "epochs": 12, "batch_size": 8, "learning_rate": 5e-3}
        return TrainSettings.model_validate(usual | {"checkpoint_every": 4, "patience": 12} | changes)

    def cluster_settings(self, **changes: Any) -> ClusterSettings:
        """Small pods in the namespace of the manifests."""
        usual = {"store": self.store, "namespace": self.platform.namespace, "image": self.platform.cluster.image}
        return ClusterSettings.model_validate(usual | {"cpu": "100m", "memory": "1Gi"} | changes)

    def in_pods(self, settings: TrainSettings, tracking_uri: str = "", **changes: Any) -> TrainResult:
        """Train on the cluster."""
        launcher = PyTorchJobLauncher(self.cluster_settings(**changes))
        return self._run(settings, "cluster", launcher, tracking_uri or self.platform.mlflow_inside)

    def here(self, settings: TrainSettings) -> TrainResult:
        """Train with torchrun on this machine; the same training is not done twice."""
        key = settings.model_dump_json()
        if key not in DONE_HERE:
            DONE_HERE[key] = self._run(settings, "local", None, f"sqlite:///{self.folder / 'mlflow.db'}")
        return DONE_HERE[key]

    def _run(self, settings: TrainSettings, name: str, launcher: Any, tracking_uri: str) -> TrainResult:
        folder = self.folder / name
        work = (folder / "model", folder / "work")
        return step.run(self.dataset.folder, {}, settings, *work, tracking_uri, launcher)

    def jobs(self) -> list[Any]:
        """PyTorchJobs whose store is that of this test."""
        return [job for job in self.platform.read(JOBS)["items"] if self.store in json.dumps(job["spec"])]

    def pods(self) -> list[str]:
        """Names of the pods of `jobs` that are not about to go."""
        pods = self.platform.read("pods")["items"]
        own = [pod for pod in pods if self.store in json.dumps(pod["spec"])]
        return [pod["metadata"]["name"] for pod in own if "deletionTimestamp" not in pod["metadata"]]

    def objects(self) -> list[str]:
        """What is left in the store."""
        import boto3

        bucket, _, prefix = self.store.removeprefix("s3://").partition("/")
        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        return [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]

    def program(self, settings: TrainSettings) -> str:
        """Python code that trains in pods, for a process of its own."""
        cluster, folder = self.cluster_settings().model_dump_json(), str(self.folder / "cluster")
        return f"""
from pathlib import Path
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train import step
from slipway.components.train.pytorchjob import PyTorchJobLauncher
launcher = PyTorchJobLauncher(ClusterSettings.model_validate_json({cluster!r}))
settings = TrainSettings.model_validate_json({settings.model_dump_json()!r})
places = [Path({folder!r}) / name for name in ("model", "work")]
step.run(Path({str(self.dataset.folder)!r}), {{}}, settings, *places, {self.platform.mlflow_inside!r}, launcher)
"""


@pytest.fixture(scope="module")
def new_trainings(
    platform: Platform, small_dataset: TextDataset, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Trainings]]:
    """Makes trainings with the rights of the service account `slipway-pipeline` and the credentials of the store."""
    rights = tmp_path_factory.mktemp("rights")
    kubeconfig = platform.cluster.as_account("slipway-pipeline", platform.namespace, rights)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (platform.environment | {"KUBECONFIG": kubeconfig}).items():
            environment.setenv(name, value)
        yield lambda: Trainings(platform, small_dataset, tiny_encoder, tmp_path_factory.mktemp("training"))


@pytest.fixture
def trainings(new_trainings: Callable[[], Trainings]) -> Trainings:
    """Trainings with a place of their own in the store."""
    return new_trainings()


class PodTraining:
    """A training in pods, for the contract of launchers."""

    def __init__(self, trainings: Trainings, elastic: bool) -> None:
        self.trainings, self.elastic = trainings, elastic
        self.settings = trainings.train_settings(epochs=40, patience=40, learning_rate=1e-3, checkpoint_every=20)
        self.model = trainings.folder / "cluster" / "model"
        self.training = ""

    def run(self, **changes: Any) -> TrainResult:
        return self.trainings.in_pods(self.settings.model_copy(update=changes), elastic=self.elastic)

    def program(self) -> str:
        return self.trainings.program(self.settings)

    def checkpoint(self) -> str | None:
        for job in self.trainings.jobs():
            self.training = job["metadata"]["labels"]["slipway.dev/training"]
        return newest_checkpoint(f"{self.trainings.store}/trainings/{self.training}") if self.training else None

    def workers(self) -> list[str]:
        return self.trainings.pods()

    def lose_worker(self) -> None:
        worker = sorted(name for name in self.workers() if "-worker-" in name)[-1]
        namespace = self.trainings.platform.namespace
        self.trainings.platform.cluster.kubectl("delete", "pod", worker, "-n", namespace, "--grace-period=0", "--force")


@pytest.fixture
def training(trainings: Trainings) -> PodTraining:
    return PodTraining(trainings, elastic=False)


@pytest.fixture
def expected(training: PodTraining) -> TrainResult:
    return training.trainings.here(training.settings)


@pytest.fixture
def trained(training: PodTraining) -> tuple[PodTraining, TrainResult]:
    return training, training.run()


class TestPyTorchJobLauncher(LauncherContract):
    """With a master and a worker; `test_elastic_workers…` does the same where all are alike."""

    def test_elastic_workers_go_on_after_a_loss(self, trainings: Trainings, expected: TrainResult) -> None:
        training = PodTraining(trainings, elastic=True)
        self.check_resumed(training, self.go_on_after_a_loss(training), expected)


def test_what_elastic_workers_did_is_in_mlflow_and_in_the_run_and_nothing_is_left_in_the_store(
    trainings: Trainings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = trainings.train_settings()
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))

    result = trainings.in_pods(settings, elastic=True)

    assert result.processes == 2
    assert result.encoder == settings.encoder
    run = MlflowClient(trainings.platform.mlflow).get_run(result.mlflow_run_id)
    assert run.data.metrics["validation_macro_f1"] == pytest.approx(result.curves.validation[-1].macro_f1)
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [event["done"] for event in events if event.get("done")][-1] == result.updates
    eventually(lambda: not trainings.jobs() and not trainings.pods())
    assert trainings.objects() == []


def admit(platform: Platform, image: str, secret: str) -> None:
    """Let trainings have another image and Secret, too; the API server hears of it a moment later."""
    own = {"name": "tests", "image": image, "envFrom": [{"secretRef": {"name": secret}}]}
    patch = json.dumps({"template": {"spec": {"containers": [own]}}})
    place = ("--namespace", platform.namespace, f"--patch={patch}")
    platform.cluster.kubectl("patch", "podtemplate", "slipway-trainer", *place)
    asked = client.CustomObjectsApi(config.new_client_from_config(os.environ["KUBECONFIG"]))
    settings = ClusterSettings(namespace=platform.namespace, image=image, secret=secret)

    def admitted() -> bool:
        with suppress(BadInput):
            check_admitted(asked, settings, platform.namespace, "")
            return True
        return False

    eventually(admitted)


@pytest.fixture(scope="module")
def broken(platform: Platform, new_trainings: Callable[[], Trainings]) -> dict[str, tuple[Trainings, Background]]:
    """Trainings that cannot go well, started at the same time: each takes a while until that is sure."""
    admit(platform, image="localhost:1/absent:1", secret="absent")
    absent = "http://absent:5000"
    started = {}
    for name, changes, address, settings in (
        ("image", {"image": "localhost:1/absent:1"}, "", {}),
        ("node", {"cpu": "5000", "unschedulable_s": 5}, "", {}),
        ("secret", {"secret": "absent"}, "", {}),
        ("disk", {"scratch": "100Ki"}, "", {"epochs": 400, "patience": 400, "checkpoint_every": 2}),
        ("input", {}, absent, {}),
    ):
        own = new_trainings()
        work = functools.partial(own.in_pods, own.train_settings(**settings), address, **changes)
        started[name] = own, Background(work)
    return started


@pytest.mark.parametrize(
    ("cause", "error", "words"),
    [
        ("image", SlipwayError, r"(?s)pod train-\S+-0: (ErrImagePull|ImagePullBackOff).*localhost:1/absent:1"),
        ("node", SlipwayError, r"pod train-\S+-0: Unschedulable: .*Insufficient cpu"),
        ("secret", SlipwayError, 'CreateContainerConfigError: secret "absent" not found'),
        ("disk", SlipwayError, r"pod train-\S+-0: Evicted: .*workspace"),
        ("input", BadInput, "the MLflow tracking server http://absent:5000 cannot be used"),
    ],
    ids=["image", "node", "secret", "disk", "input"],
)
def test_what_keeps_pods_from_work_is_told_in_their_own_words(
    broken: dict[str, tuple[Trainings, Background]], cause: str, error: type[SlipwayError], words: str
) -> None:
    trainings, training = broken[cause]
    with pytest.raises(error, match=words):
        training.result()
    eventually(lambda: not trainings.jobs())


def test_without_rights_the_cluster_s_refusal_is_reported(trainings: Trainings) -> None:
    with pytest.raises(BadInput, match=r"does not let us list PyTorchJobs .*forbidden"):
        trainings.in_pods(trainings.train_settings(), namespace="default")


def test_a_job_that_someone_removes_ends_the_training(trainings: Trainings) -> None:
    training = Background(lambda: trainings.in_pods(trainings.train_settings()))
    (job,) = eventually(trainings.jobs, training)
    trainings.platform.cluster.kubectl("delete", JOBS, job["metadata"]["name"], "-n", trainings.platform.namespace)
    with pytest.raises(SlipwayError, match="removed by someone else"):
        training.result()


def test_the_job_goes_with_the_pod_of_the_pipeline_s_step(
    trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = trainings.platform
    step_pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "the-step", "namespace": platform.namespace},
        "spec": {
            "containers": [{"name": "step", "image": platform.cluster.image, "command": ["sleep", "600"]}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    platform.cluster.apply(step_pod)
    monkeypatch.setenv("KFP_NAMESPACE", platform.namespace)
    monkeypatch.setenv("KFP_POD_NAME", "the-step")
    monkeypatch.setenv("KFP_POD_UID", platform.read("pod", "the-step")["metadata"]["uid"])
    training = Background(lambda: trainings.in_pods(trainings.train_settings()))
    eventually(trainings.jobs, training)

    platform.cluster.kubectl("delete", "pod", "the-step", "--namespace", platform.namespace)

    eventually(lambda: not trainings.jobs())
    with pytest.raises(SlipwayError, match="removed by someone else"):
        training.result()


def test_a_cancelled_step_removes_its_job_and_a_second_one_does_not_disturb_it(trainings: Trainings) -> None:
    settings = trainings.train_settings()
    process = subprocess.Popen([sys.executable, "-c", trainings.program(settings)], stderr=subprocess.PIPE, text=True)
    eventually(trainings.jobs)
    with pytest.raises(SlipwayError, match="does this very training; wait for it, or `kubectl delete pytorchjob"):
        trainings.in_pods(settings)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    eventually(lambda: not trainings.jobs() and not trainings.pods())
