"""Connects to a Kubernetes cluster, and turns errors of its API server into clear messages."""

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
"""Time limits to connect to the API server, and to wait for its response, seconds."""

PASSING = (429, 500, 502, 503, 504)
"""Statuses of errors that are temporary."""
POLICY = "ValidatingAdmissionPolicy"
"""Part of the message of a refusal by an admission policy, which has the status 422; see manifests/base/admission."""


class ApiAway(SlipwayError):
    """The API server cannot be reached at the moment. A later attempt may succeed."""


def connect() -> client.ApiClient:
    """Connect with the step's service account in a cluster, else with KUBECONFIG.

    Raises:
        BadInput: there is neither a service account nor a configuration.
    """
    try:
        try:
            kubeconfig.load_incluster_config()
        except kubeconfig.ConfigException:
            # The library reads KUBECONFIG when it is imported, so a later change would have no effect without this.
            kubeconfig.load_kube_config(os.environ.get("KUBECONFIG"))
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
    """A context for requests to the API server, which turns its errors into Slipway's.

    Args:
        what: the operation, as a phrase that completes "the cluster does not let us".
        missing: the error to raise if the object does not exist.
        needs: what to install if the cluster does not have this kind of object.

    Raises:
        ApiAway: the API server cannot be reached, or is overloaded.
        BadInput: we lack the rights, or the cluster does not have this kind of object.
        SlipwayError: the API server refuses for another reason.
    """
    try:
        with reaching():
            yield
    except ApiException as error:
        reason = message(error)
        if error.status in PASSING:
            raise ApiAway(reason) from error
        if error.status in (401, 403) or POLICY in reason:
            advice = "see manifests/ for the rights that are needed"
            raise BadInput(f"the cluster does not let us {what} ({reason}); {advice}") from error
        if error.status == 404:
            raise (missing or BadInput(f"the cluster cannot {what} ({reason}); install {needs}")) from error
        raise SlipwayError(f"the cluster refused to {what}: {reason}") from error


def message(error: ApiException) -> str:
    """The message of the API server in an error."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
