"""The request of the step `rollout`."""

from pathlib import Path

from pydantic import ConfigDict

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.execution_target import Target
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.settings import Settings


class RolloutRequest(Settings):
    """Which version to roll out, where, and how."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    """The registry's version."""
    bundle_uri: str
    """Where its bundle is stored."""
    digest: str
    """`sha256:…` of the bundle, as registered."""
    dataset: Path
    """Folder of a dataset whose test split is replayed as probes."""
    settings: RolloutSettings
    """How to roll out."""
    floor: float = 0.0
    """Macro-F1 on the probes that a first version must reach: the gate's floor."""
    tracking_uri: str
    """Address of the model registry."""
    model_name: str
    """Name under which the model is registered and served."""
    service: Path
    """Folder of the service on this machine; its processes keep running after the step."""
    public_key: Path
    """PEM of the signer whose bundles are served."""
    target: Target = "local"
    """Where the model is served; see `slipway.components.platforms.execution_target`."""
    cluster: ClusterSettings = ClusterSettings()
    """Where and with what model servers run in a cluster."""
