"""The served model that the settings mean, on this machine or in a cluster."""

from slipway.components.errors import BadInput
from slipway.components.platforms.execution_target import meant, resolve
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.served_model import ServedModel
from slipway.pipelines.cluster_settings import check_tracking
from slipway.pipelines.home import Places
from slipway.pipelines.settings import SlipwaySettings


def served_model(settings: SlipwaySettings, places: Places) -> ServedModel:
    """The model of the settings, where their target says.

    Raises:
        BadInput: that is a cluster, and none answers, or no tracking server is named.
    """
    if resolve(settings.target) != "kubernetes":
        return LocalModel(places.service, settings.tracking_uri)
    from slipway.components.rollout.kserve.model import ClusterModel

    check_tracking(settings)
    return ClusterModel(settings.cluster, Registry(settings.tracking_uri, settings.model_name))


def on_this_machine(settings: SlipwaySettings, places: Places, done: str) -> LocalModel:
    """The model of this machine, which alone can be started and stopped.

    Args:
        done: what is not done to an InferenceService, for the message.

    Raises:
        BadInput: the settings mean an InferenceService.
    """
    if meant(settings.target) == "kubernetes":
        raise BadInput(
            f"an InferenceService is not {done} from here; scale it by cluster.min_replicas, or give --target local "
            "for the service of this machine"
        )
    return LocalModel(places.service, settings.tracking_uri)
