"""Connects to the MLflow tracking server of a run, even if the environment has variables for another server.

The MLflow plugin of Kubeflow Pipelines gives each step a run by environment variables (MLFLOW_RUN_ID,
MLFLOW_TRACKING_URI, MLFLOW_WORKSPACE and credentials). That run may be on another server. MLflow's client would send
those credentials to every server, and fails with a workspace on a server that has none.
"""

import os
import re
from typing import TYPE_CHECKING

from slipway.components.clients.credentials import UNTRUSTED
from slipway.components.errors import BadInput
from slipway.components.platforms.authority import IN_CLUSTER, OF_MLFLOW

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ADDRESS = "MLFLOW_TRACKING_URI"
REFUSED = re.compile(r"\b(unauthori[sz]ed|unauthenticated|forbidden)\b", re.IGNORECASE)
"""How a refusal reads whose status is not known."""

OF_ONE_SERVER = ("MLFLOW_WORKSPACE", "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_TOKEN")
"""Variables that the plugin sets for the server at `ADDRESS`. User name and password are not among them, since they
come from the Secret of the store."""


def connect(uri: str) -> "MlflowClient":
    """A client for the runs and the registry of one server. Variables for another server are removed from the
    environment.

    Raises:
        mlflow.exceptions.MlflowException: the address cannot be used.
    """
    from mlflow import MlflowClient  # imported here: it takes seconds, and few commands need a server

    environment_uri = os.environ.get(ADDRESS, "")
    if environment_uri and environment_uri.rstrip("/") != uri.rstrip("/"):
        for name in OF_ONE_SERVER:
            os.environ.pop(name, None)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_of(client: "MlflowClient", name: str) -> "Experiment | None":
    """The experiment with this name; None if there is none yet.

    Raises:
        BadInput: it was deleted. MLflow then takes no runs for it, and makes no other one with its name.
        mlflow.exceptions.MlflowException: the server cannot be used.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise BadInput(
            f"the MLflow experiment {name!r} was deleted; restore it with `mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}` (MLFLOW_TRACKING_URI names the server), or set another train.experiment"
        )
    return experiment


def errors() -> tuple[type[Exception], ...]:
    """The classes of the errors that come from a server, or a database, that cannot be used."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError, ImportError, ValueError


def advice(error: Exception) -> str:
    """What the user should check if a tracking server cannot be used."""
    from mlflow.exceptions import MlflowException

    message = str(error)
    if UNTRUSTED in message:
        return (
            f"set {OF_MLFLOW} to a file with the certificate of the authority that signed the server's ({IN_CLUSTER})"
        )
    if "HTTPConnectionPool(" in message and "Connection aborted" in message:
        return "check the setting tracking_uri, which begins with https:// where the server has TLS"
    status = error.get_http_status_code() if isinstance(error, MlflowException) else 0  # type: ignore[no-untyped-call]
    # A proxy before the server answers with JSON of its own, of which MLflow makes an internal error.
    refused = status in (401, 403) or REFUSED.search(message)
    login = ", and the login in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if refused else ""
    return f"check the setting tracking_uri{login}"
