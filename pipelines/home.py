"""The home folder, below which Slipway keeps everything on this machine.

mlflow.db          runs and the model registry
bundles/           signed bundles, as stored by the step register
work/              trainings in progress, from which a later run resumes a killed one
cache/ artifacts/  kfp.local's cache and the outputs of the steps
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
    """The home folder: `.slipway` in the current folder, or the folder in the environment variable `SLIPWAY_HOME`."""

    home: Path

    @classmethod
    def here(cls) -> "Places":
        """The home folder of the current folder and environment.

        An earlier release made it readable for other users; its permissions are then restricted to this user.

        Raises:
            BadInput: the folder belongs to another user.
        """
        places = cls(home.home())
        for folder in (places.home, places.service):
            if folder.exists():
                private_folder(folder)
        return places

    @property
    def runs(self) -> Path:
        """The folder of the runs: one folder for each, named so that they sort by time."""
        return self.home / "runs"

    @property
    def service(self) -> Path:
        """The folder with the state of the served model."""
        return self.home / "service"

    def resolved(self, settings: SlipwaySettings) -> SlipwaySettings:
        """The settings with absolute paths, and with the stores and the tracking server that the user left open.

        Raises:
            BadInput: the target is Kubernetes, and pods cannot reach a store; or a Job is to sign bundles, which is
                only possible when the steps are pods.
        """
        database = str(self.home / "mlflow.db").replace("%", "%25").replace("?", "%3F")  # the two that a URL would read
        tracking_uri = f"sqlite:///{database}"
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


def resolved_here(settings: SlipwaySettings) -> tuple[SlipwaySettings, Places]:
    """Resolve settings for this machine.

    Sets the environment variable with the key of encryption, unless it is set: child processes that open an encrypted
    bundle read it there.

    Returns:
        The resolved settings and the home folder.

    Raises:
        BadInput: see `Places`.
    """
    places = Places.here()
    resolved = places.resolved(settings)
    if resolved.registry.encryption_key:
        os.environ.setdefault(VARIABLE, resolved.registry.encryption_key)
    return resolved, places
