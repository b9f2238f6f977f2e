"""Credentials that a pod has as files: those of a step, where libraries look for them, and those of several roles."""

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


def of_roles(folder: Path, roles: Iterable[str], names: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """Who each role is and what proves it, of the Secrets mounted at `folder/ROLE`.

    Args:
        names: of the two files.

    Raises:
        BadInput: a role lacks one.
    """
    found = {}
    for role in roles:
        try:
            who, proof = ((folder / role / name).read_text("utf-8").strip() for name in names)
        except OSError as error:
            raise BadInput(
                f"the Secret of the role {role} has no {' and '.join(names)} ({error}); manifests/install.sh secrets "
                "adds them"
            ) from error
        found[role] = (who, proof)
    return found
