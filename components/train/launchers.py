"""Choose where the workers of a training run."""

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.execution_target import resolve
from slipway.components.train.launcher import Launcher


def launcher_for(target: str, cluster: ClusterSettings) -> Launcher | None:
    """A launcher of PyTorchJobs when `target` means Kubernetes; None for the usual one of this machine.

    Raises:
        BadInput: the cluster, or the store through which its pods get data, cannot be used.
    """
    if resolve(target) == "local":
        return None
    from slipway.components.train.pytorchjob import PyTorchJobLauncher

    return PyTorchJobLauncher(cluster)
