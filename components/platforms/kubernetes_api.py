"""The connection to a cluster, and its refusals as clear errors."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kubernetes import client
from kubernetes import config as kubeconfig
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slipway.components.errors import BadInput, SlipwayError

TIMEOUT = (5.0, 30.0)
"""Seconds to connect to the API server, and to wait for its answer."""

PASSING = (429, 500, 502, 503, 504)
POLICY = "ValidatingAdmissionPolicy"
"""In the words of a policy's refusal, whose status is 422; see manifests/base/admission."""


class ApiAway(SlipwayError):
    """The API server cannot be reached at the moment; it may be back soon."""


def connect() -> client.ApiClient:
    """As the step's service account in a cluster, else as KUBECONFIG says.

    Raises:
        BadInput: there is no cluster to talk to.
    """
    try:
        try:
            kubeconfig.load_incluster_config()
        except kubeconfig.ConfigException:
            kubeconfig.load_kube_config(os.environ.get("KUBECONFIG"))  # the library reads it when it is imported
    except kubeconfig.ConfigException as error:
        raise BadInput(f"there is no cluster to talk to ({error}); set KUBECONFIG") from error
    return client.ApiClient()


@contextmanager
def reaching() -> Iterator[None]:
    """Turn broken connections into `ApiAway`."""
    try:
        yield
    except (HTTPError, OSError) as error:
        raise ApiAway(f"no answer from the API server: {error}") from error


@contextmanager
def asking(what: str, missing: SlipwayError | None = None, needs: str = "manifests/") -> Iterator[None]:
    """Surround requests to the API server.

    Args:
        what: what is asked for, to follow "the cluster does not let us".
        missing: raised when the object does not exist.
        needs: what must be installed when the cluster does not know the kind at all.

    Raises:
        ApiAway: it cannot be reached, or is overloaded.
        BadInput: we lack the rights, or the cluster lacks the kind.
        SlipwayError: it refuses for another reason.
    """
    try:
        with reaching():
            yield
    except ApiException as error:
        words = message(error)
        if error.status in PASSING:
            raise ApiAway(words) from error
        if error.status in (401, 403) or POLICY in words:
            advice = "see manifests/ for the rights that are needed"
            raise BadInput(f"the cluster does not let us {what} ({words}); {advice}") from error
        if error.status == 404:
            raise (missing or BadInput(f"the cluster cannot {what} ({words}); install {needs}")) from error
        raise SlipwayError(f"the cluster refused to {what}: {words}") from error


def message(error: ApiException) -> str:
    """The API server's own words."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
