"""The service's own copies of the bundles that it serves, so that none vanishes with a run's folder or a bucket."""

import shutil
from pathlib import Path

from slipway.components.artifacts.bundle import Bundle
from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers, storage

FOLDER = "bundles"


def fetch(uri: str, digest: str, service: Path) -> Path:
    """The folder with the copy of a bundle, fetched unless it is there unharmed.

    Whether it is what was registered and signed is for others to verify.

    Raises:
        BadInput: the bundle cannot be fetched, or the digest is none.
    """
    named = identifiers.digest(digest, "the digest of the bundle").removeprefix("sha256:")
    folder = service.absolute() / FOLDER / named
    if not _is(folder, digest):
        storage.download_folder(uri, folder)
    return folder


def prune(service: Path, digests: set[str]) -> None:
    """Remove all copies but those with these digests."""
    kept = {digest.removeprefix("sha256:") for digest in digests}
    for folder in (service / FOLDER).glob("*/"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _is(folder: Path, digest: str) -> bool:
    try:
        return Bundle(folder).digest() == digest
    except BadInput:
        return False
