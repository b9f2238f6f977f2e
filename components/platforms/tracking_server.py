"""A client of the MLflow tracking server that a run is set up with, whatever else the environment says of another one.

Kubeflow Pipelines' MLflow plugin gives steps a run of their own by variables (MLFLOW_RUN_ID, MLFLOW_TRACKING_URI,
MLFLOW_WORKSPACE and its ways to log in), and need not know our server. MLflow's client would show those logins to every
server, and a workspace makes it fail on one that has none.
"""

import os

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from slipway.components.platforms.authority import IN_CLUSTER, OF_MLFLOW, UNTRUSTED

ADDRESS = "MLFLOW_TRACKING_URI"
OF_ONE_SERVER = ("MLFLOW_WORKSPACE", "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_TOKEN")
"""What the plugin sets for the server at `ADDRESS`. A user name and a password are those of the Secret of the store."""


def connect(uri: str) -> MlflowClient:
    """A client for runs and the registry of one server; takes what is for another server from the environment.

    Raises:
        mlflow.exceptions.MlflowException: the address cannot be used.
    """
    elsewhere = os.environ.get(ADDRESS, "")
    if elsewhere and elsewhere.rstrip("/") != uri.rstrip("/"):
        for name in OF_ONE_SERVER:
            os.environ.pop(name, None)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def advice(error: Exception) -> str:
    """What to look at when a tracking server cannot be used."""
    said = str(error)
    if UNTRUSTED in said:
        return (
            f"set {OF_MLFLOW} to a file with the certificate of the authority that signed the server's ({IN_CLUSTER})"
        )
    if "HTTPConnectionPool(" in said and "Connection aborted" in said:
        return "check the setting tracking_uri, which begins with https:// where the server has TLS"
    refused = isinstance(error, MlflowException) and error.get_http_status_code() in (401, 403)  # type: ignore[no-untyped-call]
    login = ", and the login in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" if refused else ""
    return f"check the setting tracking_uri{login}"
