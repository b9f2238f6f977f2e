"""The served model that the settings mean, on this machine or in a cluster, and the levers of both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import BadInput
from components.inference import GrpcClient, ModelClient
from components.registry import Registry
from components.target import meant, resolve
from pipelines.for_cluster import check_tracking
from pipelines.places import Places
from pipelines.settings import SlipwaySettings


@dataclass(frozen=True)
class Served:
    """What the commands ask about a served model."""

    settings: SlipwaySettings
    places: Places

    @property
    def in_cluster(self) -> bool:
        """Whether it is an InferenceService.

        Raises:
            BadInput: so the settings say, and no cluster answers.
        """
        return resolve(self.settings.target) == "kubernetes"

    def on_this_machine(self, done: str) -> Path:
        """The folder of the service on this machine, which alone can be started and stopped.

        Raises:
            BadInput: the settings mean an InferenceService.
        """
        if meant(self.settings.target) == "kubernetes":
            raise BadInput(
                f"an InferenceService is not {done} from here; scale it by cluster.min_replicas, or give "
                "--target local for the service of this machine"
            )
        return self.places.service

    @property
    def registry(self) -> Registry:
        """The registry of the model's versions.

        Raises:
            BadInput: for a model in a cluster, no tracking server is named.
        """
        check_tracking(self.settings)
        return Registry(self.settings.tracking_uri, self.settings.model_name)

    def client(self, grpc: bool = False) -> ModelClient | GrpcClient:
        """A client of the public endpoint."""
        if not self.in_cluster:
            from components.rollout import control

            return control.client(self.places.service, grpc=grpc)
        from components.rollout.kserve import control as in_cluster

        if grpc and self.settings.cluster.protocol != "grpc":
            raise BadInput("the cluster's gateway leads to the REST port; leave --grpc out, or see cluster.protocol")
        return in_cluster.client(self.settings.model_name, self.settings.cluster)

    def status(self) -> dict[str, Any]:
        """What is served; see `components.rollout.control.status`."""
        if not self.in_cluster:
            from components.rollout import control

            return control.status(self.places.service)
        from components.rollout.kserve import control as in_cluster

        return in_cluster.status(self.settings.model_name, self.settings.cluster, self.registry)

    def promote(self) -> str:
        """Make the challenger the champion; returns what was done."""
        if not self.in_cluster:
            from components.rollout import control

            return control.promote(self.places.service, self.settings.tracking_uri)
        from components.rollout.kserve import control as in_cluster

        return in_cluster.promote(self.settings.model_name, self.settings.cluster, self.registry)

    def rollback(self) -> str:
        """Take the challenger out of traffic, or go back to the version before; returns what was done."""
        if not self.in_cluster:
            from components.rollout import control

            return control.rollback(self.places.service, self.settings.tracking_uri)
        from components.rollout.kserve import control as in_cluster

        return in_cluster.rollback(self.settings.model_name, self.settings.cluster, self.registry)

    def repair(self) -> str:
        """Make the registry's aliases say what is served; returns what was done."""
        if not self.in_cluster:
            from components.rollout import control

            return control.repair(self.places.service, self.settings.tracking_uri)
        from components.rollout.kserve import control as in_cluster

        return in_cluster.repair(self.settings.model_name, self.settings.cluster, self.registry)
