"""The served model that the settings describe, on this machine or in a cluster; for the commands that act on it."""

from slipway.components.errors import BadInput
from slipway.components.platforms.execution_target import meant, resolve
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.served_model import ServedModel
from slipway.pipelines.cluster_settings import check_tracking
from slipway.pipelines.home import Places
from slipway.pipelines.settings import SlipwaySettings


def served_model(settings: SlipwaySettings, places: Places) -> ServedModel:
    """The served model on the target of the settings.

    Raises:
        BadInput: the target is a cluster, which does not respond; or the settings name no tracking server.
    """
    if resolve(settings.target) != "kubernetes":
        return LocalModel(places.service, settings.tracking_uri)
    from slipway.components.rollout.kserve.model import ClusterModel

    check_tracking(settings)
    return ClusterModel(settings.cluster, Registry(settings.tracking_uri, settings.model_name))


def on_this_machine(settings: SlipwaySettings, places: Places, action: str) -> LocalModel:
    """The model that is served on this machine. Only such a model can be started and stopped.

    Args:
        settings: of the service.
        places: the home folder.
        action: what the caller does with the model, such as `started`, for the message.

    Raises:
        BadInput: the target of the settings is Kubernetes.
    """
    if meant(settings.target) == "kubernetes":
        raise BadInput(
            f"an InferenceService is not {action} from here; scale it by cluster.min_replicas, or give --target local "
            "for the service of this machine"
        )
    return LocalModel(places.service, settings.tracking_uri)
