"""Models that are rolled out to a real cluster in tests: what surrounds them, and what is known of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.key_files import PRIVATE
from slipway.components.platforms import storage
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import step
from slipway.components.rollout.kserve.model import ClusterModel
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.request import RolloutRequest
from slipway.components.rollout.result import RolloutResult
from slipway.components.rollout.settings import RolloutSettings
from tests.cluster.clients import Clients
from tests.cluster.conftest import Platform
from tests.local import bad_bundles

QUICK = RolloutSettings(
    steps="30,60", bake_s=1.0, max_error_rise=0.05, max_slow_rise=0.15, max_accuracy_drop=0.1, minimum_requests=20,
    baseline_requests=30, poll_s=0.3, ready_timeout_s=120.0,
)  # fmt: skip


@dataclass
class Serving:
    """What rollouts need: a namespace with a runtime, bundles in S3, a registry, and the gateway."""

    settings: ClusterSettings
    tracking_uri: str
    store: str
    dataset: TextDataset
    bundles: Path
    platform: Platform

    def model(self, name: str) -> "Model":
        """A model of its own, which nothing serves yet."""
        return Model(self, name, Registry(self.tracking_uri, name))


@dataclass
class Model:
    """A model that is served, or will be."""

    serving: Serving
    name: str
    registry: Registry

    def register(self, bundle: str, as_it_is: bool = False) -> Version:
        """Register one of the bundles, made one of this model first unless it is to stay as it is."""
        folder, uri = self.serving.bundles / bundle, f"{self.serving.store}/{bundle}"
        if Bundle(folder).info.model_name != self.name and not as_it_is:
            own = self.serving.bundles / self.name / bundle
            folder = bad_bundles.renamed(folder, own, self.serving.bundles / "keys" / PRIVATE, self.name)
            uri = f"{self.serving.store}/{self.name}/{bundle}"
            storage.upload_folder(folder, uri)
        return self.registry.register(uri, Bundle(folder).digest(), {})

    def remove(self) -> None:
        """Take its service away."""
        platform = self.serving.platform
        where = ("--ignore-not-found", "--namespace", platform.namespace)
        platform.cluster.kubectl("delete", "inferenceservice", self.name, *where)

    def roll_out(self, version: Version, **settings: Any) -> RolloutResult:
        """What the pipeline's step does."""
        return step.run(self.request(version, QUICK.model_copy(update=settings)))

    def request(self, version: Version, settings: RolloutSettings) -> RolloutRequest:
        """What the pipeline's step is asked."""
        return RolloutRequest(
            version=version.version,
            bundle_uri=version.bundle_uri,
            digest=version.digest,
            dataset=self.serving.dataset.folder,
            settings=settings,
            tracking_uri=self.serving.tracking_uri,
            model_name=self.name,
            service=Path("/nowhere"),
            public_key=Path("/nowhere"),
            target="kubernetes",
            cluster=self.serving.settings,
        )

    @property
    def served(self) -> ClusterModel:
        """What it serves, for people."""
        return ClusterModel(self.serving.settings, self.registry)

    @property
    def target(self) -> KServeTarget:
        """The rollout target."""
        return KServeTarget(self.name, self.serving.settings)

    def clients(self, texts: list[str] | None = None) -> Clients:
        """Clients that do not pause."""
        return Clients(self.target.endpoint(), self.name, texts or self.serving.dataset.texts("validation"))

    def service(self) -> Any:
        """The InferenceService."""
        return self.serving.platform.read("inferenceservice", self.name)

    def revisions(self) -> list[str]:
        """Names of all revisions there ever were."""
        selector = f"serving.kserve.io/inferenceservice={self.name}"
        return [item["metadata"]["name"] for item in self.serving.platform.read("revisions", "-l", selector)["items"]]

    def aliases(self) -> tuple[str | None, str | None]:
        """Versions of the registry's champion and challenger."""
        champion, challenger = self.registry.champion(), self.registry.challenger()
        return champion.version if champion else None, challenger.version if challenger else None

    def serves(self, version: Version) -> None:
        """See that the InferenceService, the gateway and the registry all say that this version serves, alone."""
        found = self.service()
        annotations, predictor = found["metadata"]["annotations"], found["spec"]["predictor"]
        assert annotations["slipway.dev/champion-version"] == version.version
        assert annotations["slipway.dev/champion-digest"] == version.digest
        assert "slipway.dev/challenger-version" not in annotations
        assert "slipway.dev/rollout" not in annotations
        assert predictor["model"]["storageUri"] == version.bundle_uri
        assert "canaryTrafficPercent" not in predictor
        assert self.registry.champion() is not None
        assert self.aliases() == (version.version, None)
        with self.clients() as clients:
            clients.wait_for(version.version)
        assert set(clients.by_version()) == {version.version}
        assert clients.failures == []
