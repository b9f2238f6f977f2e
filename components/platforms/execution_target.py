"""Where trainings compute and the model is served: on this machine or on a Kubernetes cluster."""

from typing import Literal

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import own_namespace

Target = Literal["auto", "local", "kubernetes"]
SECONDS = (5.0, 10.0)
"""To connect to the API server, and to wait for its answer."""


def meant(target: str) -> Literal["local", "kubernetes"]:
    """The place that a setting means; `auto` is Kubernetes for what runs inside a cluster, else this machine.

    Raises:
        BadInput: it is another word.
    """
    if target not in ("auto", "local", "kubernetes"):
        raise BadInput(f"target is {target!r}; expected auto, local or kubernetes")
    return "local" if target == "local" or (target == "auto" and own_namespace() is None) else "kubernetes"


def resolve(target: str) -> Literal["local", "kubernetes"]:
    """The place that a setting means, once it is there.

    Raises:
        BadInput: it is Kubernetes, and no cluster answers and knows us; or it is another word.
    """
    place = meant(target)
    if place == "kubernetes":
        check_reachable()
    return place


def check_reachable() -> None:
    """Ask the API server for its version, so that one that is away is told in seconds.

    Raises:
        BadInput: it does not answer, or refuses the credentials.
    """
    from kubernetes import client  # takes a second, which commands without a cluster would pay too
    from urllib3.exceptions import HTTPError

    from slipway.components.platforms.kubernetes_api import connect, message

    api = connect()
    host = api.configuration.host
    api.configuration.retries = False
    try:
        client.VersionApi(client.ApiClient(api.configuration)).get_code(_request_timeout=SECONDS)
    except client.ApiException as error:
        raise BadInput(f"the cluster at {host} answers {error.status} ({message(error)}); check KUBECONFIG") from error
    except (HTTPError, OSError) as error:
        advice = "check KUBECONFIG and that it runs, or use `--target local`"
        raise BadInput(f"the cluster at {host} cannot be reached ({error}); {advice}") from error
