"""The local service's own copies of the bundles that it serves.

A copy stays when the folder of the run or the bucket that the bundle came from is removed.
"""

import shutil
from pathlib import Path

from slipway.components.artifacts.bundle import Bundle
from slipway.components.errors import BadInput
from slipway.components.platforms import identifiers, storage

FOLDER = "bundles"


def fetch(uri: str, digest: str, service: Path) -> Path:
    """Return the folder of the copy of a bundle; fetch the bundle unless an intact copy is there.

    This function verifies neither signature nor digest of what it fetches. The target compares the digest when it
    deploys the copy, and the model server verifies the signature.

    Args:
        uri: folder or URI of the bundle.
        digest: `sha256:…` of the bundle.
        service: folder of the service.

    Raises:
        BadInput: the bundle cannot be fetched, or the digest is malformed.
    """
    name = identifiers.digest(digest, "the digest of the bundle").removeprefix("sha256:")
    folder = service.absolute() / FOLDER / name
    if not _has_digest(folder, digest):
        storage.download_folder(uri, folder)
    return folder


def prune(service: Path, digests: set[str]) -> None:
    """Remove all copies except those with these digests."""
    kept = {digest.removeprefix("sha256:") for digest in digests}
    for folder in (service / FOLDER).glob("*/"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _has_digest(folder: Path, digest: str) -> bool:
    try:
        return Bundle(folder).digest() == digest
    except BadInput:
        return False
