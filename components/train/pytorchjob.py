"""A launcher that runs the workers in pods, by a PyTorchJob of Kubeflow's training operator (kubeflow.org/v1)."""

import json
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from slipway.components.artifacts.encoder import PACKAGED, encoder_folder, is_stored
from slipway.components.clients.credentials import without_credentials
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.machine.termination import terminable
from slipway.components.platforms import storage
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.platforms.kubernetes_api import ApiAway
from slipway.components.platforms.pod_states import PodJudge, bad_input, endings, without_node
from slipway.components.step_runtime import progress
from slipway.components.train import remote
from slipway.components.train.config import STEP, WorkerConfig
from slipway.components.train.job_api import JobApi, Look
from slipway.components.train.job_manifest import first_pod, job_manifest
from slipway.components.train.patience import Patience
from slipway.components.train.pod_log import LogFollower

LOOK_SECONDS = 3
"""Longest time between two looks at the job; each event of its pods causes a look, too."""

OUTAGE_SECONDS = 120.0
"""How long the API server may not respond before the launcher gives up."""


class PyTorchJobLauncher:
    """Runs the workers of a training in pods. Launcher and pods exchange files through the store only.

    Args:
        settings: store, namespace and pods.

    Raises:
        BadInput: there is no cluster, or the store is not on S3.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        if not settings.store.startswith("s3://"):
            raise BadInput(f"store {settings.store!r}: a training on a cluster needs s3://bucket/prefix")
        self.settings = settings
        self.namespace = settings.namespace or own_namespace() or "default"
        self.api = JobApi(self.namespace)

    def launch(self, config_path: Path) -> None:
        """Run the workers to their end, then download model and result to the paths in the configuration.

        The job is removed at the end, also on SIGTERM and on an interrupt. The checkpoints stay in the store until the
        training has succeeded, so that a new launch can resume it.

        Raises:
            BadInput: the cluster, the store or an input of the workers cannot be used.
            SlipwayError: the job failed, or its pods cannot run. The message quotes the pods.
        """
        config = WorkerConfig.model_validate_json(config_path.read_text("utf-8"))
        config = config.model_copy(update={"tracking_uri": self.settings.tracking_uri or config.tracking_uri})
        if not config.tracking_uri.startswith("http"):
            shown = without_credentials(config.tracking_uri)
            raise BadInput(f"pods cannot use the tracking server {shown}; give the address of one")
        training = config.digest.removeprefix("sha256:")[:16]
        store = f"{self.settings.store.rstrip('/')}/trainings/{training}"
        name = f"train-{training[:8]}-{secrets.token_hex(3)}"
        job = job_manifest(name, training, store, config.settings, self.settings, self.namespace)
        with terminable():
            try:
                self._start(config, store, name, training, job)
                with LogFollower(self.api.core, self.namespace, first_pod(name, self.settings)):
                    self._wait(name)
                _download(config, f"{store}/launches/{name}")
            finally:
                self.api.delete(name)
                with suppress(BadInput):
                    storage.remove_folder(f"{store}/launches/{name}")
            storage.remove_folder(store)

    def _start(self, config: WorkerConfig, store: str, name: str, training: str, job: dict[str, object]) -> None:
        try:
            for other in self.api.at_work(training):  # two jobs must not write the same checkpoints
                command = f"kubectl delete pytorchjob {other} --namespace {self.namespace}"
                raise SlipwayError(f"PyTorchJob {other} does this very training; wait for it, or `{command}`")
            _upload(config, store, name)
            self.api.create(job)
        except ApiAway as error:
            raise BadInput(f"the cluster cannot be reached ({error}); check KUBECONFIG") from error
        progress.report(STEP, f"PyTorchJob {self.namespace}/{name} is created")

    def _wait(self, name: str) -> None:
        """Return when the job succeeded.

        Raises:
            SlipwayError: the job failed, or its pods cannot run.
        """
        judge = PodJudge(self.settings.unschedulable_s)
        patience = Patience(f"PyTorchJob {self.namespace}/{name}", self.settings.deadline_s)
        reached = time.monotonic()
        failed: list[Any] = []  # pods that failed: the operator may replace them before the next look
        version = ""
        while True:
            try:
                look = self.api.look(name)
                reached = time.monotonic()
                if self._succeeded(name, look, judge, failed):
                    return
                why_held = self.api.why_held(look.job) if look.held else ""
                patience.check(why_held, bool(look.pods), without_node(look.pods))
                pod, version = self.api.next_event(name, version or look.resource_version, LOOK_SECONDS)
                if pod and pod.status.phase == "Failed":
                    failed.append(pod)
            except ApiAway as error:
                if time.monotonic() - reached > OUTAGE_SECONDS:
                    raise SlipwayError(f"the cluster was away for {OUTAGE_SECONDS:.0f} s ({error})") from error
                time.sleep(1.0)

    def _succeeded(self, name: str, look: Look, judge: PodJudge, failed: list[Any]) -> bool:
        """Whether the job succeeded; False while it has not ended.

        Raises:
            SlipwayError: the job failed, or its pods cannot run.
        """
        if look.ending and look.ending.succeeded:
            return True
        if error := bad_input(look.pods):
            raise error
        pod_endings = endings(look.pods)
        if look.ending:
            reasons = "\n".join([look.ending.reason, *pod_endings])
            raise SlipwayError(f"PyTorchJob {name} failed; a new run goes on from the last checkpoint. {reasons}")
        if look.held:  # the operator removes the pods of a held job, and makes new ones when it is released
            failed.clear()
        if problem := judge.problem([] if look.held else [*look.pods, *failed]):
            raise SlipwayError("\n".join([f"PyTorchJob {name} cannot run: {problem}", *pod_endings]))
        return False


def _local_encoder(config: WorkerConfig) -> Path | None:
    """The encoder's folder, when it is on this machine only; None for an encoder of the image or of a store."""
    name = config.settings.encoder
    if name in PACKAGED or is_stored(name):
        return None
    folder = Path(encoder_folder(name))
    return folder if folder.is_dir() else None


def _upload(config: WorkerConfig, store: str, name: str) -> None:
    """Upload dataset, encoder and configuration to the store. The configuration has the paths in the pods."""
    settings = config.settings
    storage.upload_folder(config.dataset, f"{store}/dataset")
    if encoder := _local_encoder(config):
        storage.upload_folder(encoder, f"{store}/encoder")
        settings = settings.model_copy(update={"encoder": str(remote.ENCODER)})
    paths = dict.fromkeys(("output", "work", "launch"), remote.WORKSPACE)
    pod_config = config.model_copy(update={**paths, "dataset": remote.DATASET, "settings": settings})
    remote.put_json(pod_config.model_dump(mode="json"), f"{store}/launches/{name}/config", remote.CONFIG)


def _download(config: WorkerConfig, launch: str) -> None:
    """Download model and result, and replace the encoder's path in the pods by its path on this machine in them."""
    storage.download_folder(f"{launch}/output", config.output)
    storage.download_file(f"{launch}/result/{remote.RESULT}", config.result_file)
    if _local_encoder(config):
        pod_path, local_path = json.dumps(str(remote.ENCODER)), json.dumps(config.settings.encoder)
        for path in (config.result_file, config.output / "slipway.json"):
            path.write_text(path.read_text("utf-8").replace(pod_path, local_path), "utf-8")
