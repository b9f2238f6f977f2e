"""An authority of one's own, which signed the certificates of S3 and MLflow: pods trust it besides the usual ones.

Its certificate is in the same Secret as the address and the key of the store, so that a pod has all of them or none.
Outside of pods, AWS_CA_BUNDLE and MLFLOW_TRACKING_SERVER_CERT_PATH say whom boto3 and MLflow trust, as usual.
"""

import os
import ssl
import tempfile
from pathlib import Path

from slipway.components.errors import BadInput

VARIABLE = "SLIPWAY_CA"
"""Environment variable with the authority's certificates as PEM."""

OF_S3, OF_MLFLOW = "AWS_CA_BUNDLE", "MLFLOW_TRACKING_SERVER_CERT_PATH"
"""Environment variables with the path of what boto3 and MLflow's client trust; other clients do not look at them."""

OF_BOTH = "REQUESTS_CA_BUNDLE"
"""What both look at where those are absent."""

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""Part of the error of every client that does not trust a server's certificate."""

IN_CLUSTER = "pods get it by `manifests/install.sh secrets`"


def trust() -> None:
    """Make the clients of S3 and MLflow, here and in processes that this one starts, trust the authority of `VARIABLE`.

    What they trusted before they go on to trust. Nothing happens without the variable. Call it before clients are made.

    Raises:
        BadInput: the variable holds no certificate, or what is trusted before cannot be read.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return
    try:
        ssl.create_default_context(cadata=given)
    except (ssl.SSLError, ValueError, TypeError) as error:
        raise BadInput(
            f"{VARIABLE} of the Secret of the store holds no certificates ({error}); expected PEM, which "
            "`manifests/install.sh secrets` puts there"
        ) from error
    from botocore.httpsession import get_cert_path  # slow to import, and few pods have an authority

    for name in (OF_S3, OF_MLFLOW):
        usual = os.environ.get(name) or os.environ.get(OF_BOTH) or get_cert_path(True)
        try:
            known = Path(usual).read_text("utf-8")
        except OSError as error:
            raise BadInput(f"{name} or {OF_BOTH} is {usual}, which is no PEM file ({error.strerror})") from error
        with tempfile.NamedTemporaryFile("w", prefix="slipway-trusted-", suffix=".pem", delete=False) as file:
            file.write(f"{known}\n{given}\n")
        os.environ[name] = file.name
