"""Resolves the setting `target`: whether trainings and model servers run on this machine or on a Kubernetes cluster."""

from typing import Literal

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import own_namespace

Target = Literal["auto", "local", "kubernetes"]
SECONDS = (5.0, 10.0)
"""Time limits to connect to the API server, and to wait for its response."""


def meant(target: str) -> Literal["local", "kubernetes"]:
    """The target that a setting means. `auto` means Kubernetes for a process inside a cluster, else this machine.

    Raises:
        BadInput: the setting has another value.
    """
    if target not in ("auto", "local", "kubernetes"):
        raise BadInput(f"target is {target!r}; expected auto, local or kubernetes")
    return "local" if target == "local" or (target == "auto" and own_namespace() is None) else "kubernetes"


def resolve(target: str) -> Literal["local", "kubernetes"]:
    """The target that a setting means, after a check that it can be reached.

    Raises:
        BadInput: the target is Kubernetes, and no cluster answers or it refuses the credentials; or as `meant`.
    """
    resolved = meant(target)
    if resolved == "kubernetes":
        check_reachable()
    return resolved


def check_reachable() -> None:
    """Request the version of the API server, so that an unreachable one is reported within seconds.

    Raises:
        BadInput: the API server does not answer, or refuses the credentials.
    """
    from kubernetes import client  # the import takes a second, which commands without a cluster do not need
    from urllib3.exceptions import HTTPError

    from slipway.components.platforms.kubernetes_api import connect, message

    api = connect()
    host = api.configuration.host
    api.configuration.retries = False  # urllib3 would repeat the connection attempts, each with its own time limit
    try:
        client.VersionApi(client.ApiClient(api.configuration)).get_code(_request_timeout=SECONDS)
    except client.ApiException as error:
        raise BadInput(f"the cluster at {host} answers {error.status} ({message(error)}); check KUBECONFIG") from error
    except (HTTPError, OSError) as error:
        advice = "check KUBECONFIG and that it runs, or use `--target local`"
        raise BadInput(f"the cluster at {host} cannot be reached ({error}); {advice}") from error
