"""Makes pods trust a private certificate authority that signed the certificates of S3 and MLflow.

The certificate of the authority is in the same Secret as address and key of the store, so that a pod has all of them or
none. Outside of pods, AWS_CA_BUNDLE and MLFLOW_TRACKING_SERVER_CERT_PATH state whom boto3 and MLflow trust, as usual.
"""

import os
import ssl
import tempfile
from pathlib import Path

from slipway.components.errors import BadInput

VARIABLE = "SLIPWAY_CA"
"""Environment variable with the authority's certificates as PEM."""

OF_S3, OF_MLFLOW = "AWS_CA_BUNDLE", "MLFLOW_TRACKING_SERVER_CERT_PATH"
"""Environment variables with the path of the certificates that boto3 and MLflow's client trust. Other clients ignore
them."""

OF_BOTH = "REQUESTS_CA_BUNDLE"
"""The variable that both use if those are not set."""

IN_CLUSTER = "pods get it by `manifests/install.sh secrets`"


def trust() -> None:
    """Make the clients of S3 and MLflow, here and in child processes, trust the authority in `VARIABLE` too.

    Authorities that they trusted before stay trusted. Nothing happens if the variable is not set. Call it before
    clients are made.

    Raises:
        BadInput: the variable has no certificate, or the file of the authorities trusted before cannot be read.
    """
    certificates = os.environ.get(VARIABLE, "")
    if not certificates:
        return
    try:
        ssl.create_default_context(cadata=certificates)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise BadInput(
            f"{VARIABLE} of the Secret of the store holds no certificates ({error}); expected PEM, which "
            "`manifests/install.sh secrets` puts there"
        ) from error
    from botocore.httpsession import get_cert_path  # slow to import, and few pods have an authority

    for name in (OF_S3, OF_MLFLOW):
        former_path = os.environ.get(name) or os.environ.get(OF_BOTH) or get_cert_path(True)
        try:
            former = Path(former_path).read_text("utf-8")
        except OSError as error:
            raise BadInput(f"{name} or {OF_BOTH} is {former_path}, which is no PEM file ({error.strerror})") from error
        with tempfile.NamedTemporaryFile("w", prefix="slipway-trusted-", suffix=".pem", delete=False) as file:
            file.write(f"{former}\n{certificates}\n")
        os.environ[name] = file.name
