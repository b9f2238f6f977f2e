"""Makes a model out of the folder of a bundle: verifies the signature, then decrypts, loads and warms up."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.components.artifacts.bundle import Bundle, contents_of
from slipway.components.artifacts.encryption import BundleKey
from slipway.components.errors import BadInput, BundleRefused, SlipwayError

if TYPE_CHECKING:
    from slipway.components.artifacts.signing import Wanted
    from slipway.serving.limits import Limits
    from slipway.serving.model.kserve_model import BundleModel

logger = logging.getLogger("serving")
VERSION_DIGITS = 12
"""Digits of the bundle's digest in the default version."""


class LoadFailed(SlipwayError):
    """The signature of the bundle is valid, but its model cannot be loaded or cannot answer."""


def verified(
    folder: Path, public_key: Path | None, wanted: "Wanted", decryption_key: BundleKey | None = None
) -> Bundle:
    """Read a bundle into memory and verify its signature.

    Args:
        folder: folder of the bundle.
        public_key: key of the signer, or folder of several keys; None to skip the verification, with a warning.
        wanted: name of the model and digest that the bundle must have.
        decryption_key: opens an encrypted bundle.

    Raises:
        BadInput: the folder is not a bundle, or the key cannot be used.
        BundleRefused: the bundle is unsigned, altered, signed by someone else, or not the wanted one.
    """
    if not folder.is_dir():
        raise BadInput(f"the bundle {folder} is not a folder; give the folder with bundle.json")
    from slipway.components.artifacts.signing import check_digest, opened

    if public_key is None:
        logger.warning("event=unsigned_allowed bundle=%s the bundle is loaded without verification", folder)
        bundle = Bundle(folder, decryption_key, contents_of(folder))
        check_digest(bundle, wanted.digest)
        return bundle
    if not wanted.digest:
        logger.warning("event=any_version no --model_digest: any bundle that was signed for this model is loaded")
    return opened(folder, public_key, wanted, decryption_key)


def public_reason(error: BundleRefused, folder: Path) -> str:
    """Why a bundle was refused, without the path of the bundle; for clients."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for path in {str(folder.resolve()), str(folder)}:
        reason = reason.replace(path, "the bundle") if os.sep in path else reason
    return reason


def load_model(name: str, version: str, bundle: Bundle, threads: int, limits: "Limits") -> "BundleModel":
    """Load and warm up the model of a bundle. Afterwards only `info` of the bundle can be read, to free its memory.

    Args:
        name: name in the paths of the protocols.
        version: version in responses; empty for the start of the digest.
        bundle: verified bundle in memory.
        threads: threads of one inference; 0 to measure what is best here.
        limits: limits of the server.

    Raises:
        BundleRefused: it cannot be decrypted.
        LoadFailed: the model cannot be loaded or cannot answer.
    """
    from slipway.serving.errors import InferenceFailed
    from slipway.serving.model.kserve_model import BundleModel
    from slipway.serving.model.sessions import open_engine

    digest = bundle.digest()
    version = version or digest.removeprefix("sha256:")[:VERSION_DIGITS]
    try:
        model = BundleModel(name, open_engine(bundle, threads), digest, version, limits)
        model.load()
    except BadInput as error:
        raise LoadFailed(str(error)) from error
    except InferenceFailed as error:
        raise LoadFailed(f"the model of {bundle.folder} cannot answer a test request: {error.__cause__}") from error
    bundle.release()
    return model
