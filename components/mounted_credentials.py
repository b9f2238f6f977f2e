"""Credentials that a pod of a step has as files: each is put into the environment, where the libraries look for it."""

import os
from collections.abc import Sequence
from pathlib import Path

from components import authority
from components.encryption import VARIABLE
from components.image import CREDENTIALS_FOLDER, ENCRYPTION_FOLDER, HUB_FOLDER

NAMES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "HF_TOKEN",
    "HF_ENDPOINT",
    VARIABLE,
    authority.VARIABLE,
)
"""What is taken; another file would let whoever writes the Secret change how a step runs."""


def load(folders: Sequence[str] = (CREDENTIALS_FOLDER, ENCRYPTION_FOLDER, HUB_FOLDER)) -> None:
    """Read the files of mounted Secrets; what the environment has already stays as it is.

    Raises:
        BadInput: the certificate of an authority among them is none.
    """
    for path in (Path(folder) / name for folder in folders for name in NAMES):
        if path.is_file():
            os.environ.setdefault(path.name, path.read_text("utf-8").strip())
    authority.trust()
