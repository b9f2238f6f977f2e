"""Where Slipway keeps things on this machine, all below one home folder.

mlflow.db          runs and the model registry
bundles/           signed bundles, as stored by the step register
work/              trainings in progress, so that a killed one goes on
cache/ artifacts/  what the steps made, and which inputs it was made from
service/           the served model: proxy, model servers, state of a rollout
runs/RUN/          settings, progress, logs, results and the report of one run
"""

import os
from dataclasses import dataclass
from pathlib import Path

from slipway.components.artifacts.encryption import KMS, VARIABLE
from slipway.components.errors import BadInput
from slipway.components.machine import home
from slipway.components.machine.private_files import private_folder
from slipway.components.platforms.container_image import SIGNING_JOB
from slipway.components.platforms.execution_target import meant
from slipway.pipelines import cluster_settings
from slipway.pipelines.settings import SlipwaySettings


@dataclass(frozen=True)
class Places:
    """The home folder: `.slipway` here, or what the environment variable `SLIPWAY_HOME` says."""

    home: Path

    @classmethod
    def here(cls) -> "Places":
        """The places of this folder and environment; those of an earlier release become this user's alone.

        Raises:
            BadInput: they belong to somebody else.
        """
        places = cls(home.home())
        for folder in (places.home, places.service):
            if folder.exists():
                private_folder(folder)
        return places

    @property
    def runs(self) -> Path:
        """One folder for each run, named so that they sort by time."""
        return self.home / "runs"

    @property
    def service(self) -> Path:
        """State of the served model."""
        return self.home / "service"

    def resolved(self, settings: SlipwaySettings) -> SlipwaySettings:
        """The settings with every place that was left open filled in, and every path absolute.

        Raises:
            BadInput: the target is Kubernetes, and pods cannot reach a store; or bundles are to be signed by a Job.
        """
        tracking_uri = f"sqlite:///{self.home / 'mlflow.db'}"
        if meant(settings.target) == "kubernetes":
            settings, tracking_uri = cluster_settings.with_stores(settings), ""
        registry = settings.registry
        keys = os.environ.get("SLIPWAY_KEYS", registry.keys)
        if keys.startswith(SIGNING_JOB):
            raise BadInput(f"registry.keys is {keys}, for runs whose steps are pods; give a folder with the key pair")
        store = registry.store or str(self.home / "bundles")
        if "://" not in store:
            store = str(Path(store).expanduser().absolute())
        encryption_key = registry.encryption_key
        if encryption_key and not encryption_key.startswith(KMS):
            encryption_key = str(Path(encryption_key).expanduser().absolute())
        return settings.model_copy(
            update={
                "tracking_uri": settings.tracking_uri or tracking_uri,
                "registry": registry.model_copy(
                    update={
                        "store": store,
                        "keys": str(Path(keys).expanduser().absolute()),
                        "encryption_key": encryption_key,
                    }
                ),
            }
        )


def resolved_here(given: SlipwaySettings) -> tuple[SlipwaySettings, Places]:
    """The settings with every place filled in, and the places of this machine.

    Processes of ours that open an encrypted bundle find the key in the environment, unless another is there.

    Raises:
        BadInput: see `Places`.
    """
    places = Places.here()
    resolved = places.resolved(given)
    if resolved.registry.encryption_key:
        os.environ.setdefault(VARIABLE, resolved.registry.encryption_key)
    return resolved, places
