"""Reads the credentials in mounted Secrets: those of a step into the environment, and those of several roles."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.platforms import authority
from slipway.components.platforms.container_image import CREDENTIALS_FOLDER, ENCRYPTION_FOLDER, HUB_FOLDER

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
    "SLIPWAY_DECRYPTION_KEY",
    authority.VARIABLE,
)
"""The variables that are read. With any other one, whoever may write the Secret could change how a step runs."""


def load(folders: Sequence[str] = (CREDENTIALS_FOLDER, ENCRYPTION_FOLDER, HUB_FOLDER)) -> None:
    """Set environment variables from the files of mounted Secrets. Variables that are set already are not changed.

    Raises:
        BadInput: the certificate of an authority among them is not valid.
    """
    for path in (Path(folder) / name for folder in folders for name in NAMES):
        if path.is_file():
            os.environ.setdefault(path.name, path.read_text("utf-8").strip())
    authority.trust()


def of_roles(folder: Path, roles: Iterable[str], names: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """The credentials of each role, from the Secrets mounted at `folder/ROLE`.

    Args:
        folder: folder with the mounted Secrets.
        roles: names of the roles.
        names: names of the two files in each Secret: the one with the identity, and the one with the secret.

    Returns:
        identity and secret of each role.

    Raises:
        BadInput: the Secret of a role lacks a file.
    """
    credentials = {}
    for role in roles:
        try:
            identity, secret = ((folder / role / name).read_text("utf-8").strip() for name in names)
        except OSError as error:
            raise BadInput(
                f"the Secret of the role {role} has no {' and '.join(names)} ({error}); manifests/install.sh secrets "
                "adds them"
            ) from error
        credentials[role] = (identity, secret)
    return credentials
