"""From a folder to a model that can answer: verify the signature, then decrypt, load and warm up."""

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


class LoadFailed(SlipwayError):
    """The bundle is what was signed, but its model cannot be loaded or cannot answer."""


def verified(
    folder: Path, public_key: Path | None, wanted: "Wanted", decryption_key: BundleKey | None = None
) -> Bundle:
    """The bundle in memory, once its signature is found good; without a public key as it is, with a warning.

    Raises:
        BadInput: the folder is not a bundle, or the key cannot be used.
        BundleRefused: the bundle is unsigned, altered, signed by someone else, or another than the wanted one.
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
    """Why a bundle was refused, without where it is."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    for path in {str(folder.resolve()), str(folder)}:
        reason = reason.replace(path, "the bundle") if os.sep in path else reason
    return reason


def load_model(name: str, version: str, bundle: Bundle, threads: int, limits: "Limits") -> "BundleModel":
    """The model, warmed up. Of the bundle only `info` can be read then.

    Args:
        name: in the paths of the protocols.
        version: stated in answers; empty for the start of the digest.
        bundle: in memory, verified.
        threads: of one inference; 0 to find out.
        limits: what the server accepts.

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
