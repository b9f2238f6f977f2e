"""Data and encoders of this machine for a run whose steps are pods: they go to the store, under their digest.

    STORE/uploads/data/DIGEST/NAME          a file, or a folder with its data files
    STORE/uploads/encoders/DIGEST/          an encoder's folder

An object of S3 is there as a whole or not at all, and what lies under a digest does not change. So an upload that was
interrupted is known by what it lacks, and only that is sent.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from slipway.components.artifacts.encoder import PACKAGED, is_stored
from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms import storage
from slipway.components.prepare_data import sources
from slipway.pipelines.cluster_settings import encoders, with_encoders
from slipway.pipelines.settings import SlipwaySettings

UPLOADS = "uploads"
ENCODER_FILES = {".json", ".txt", ".safetensors", ".model", ".bpe", ".tiktoken"}
"""What transformers reads of an encoder: configuration, tokenizer, weights. Nothing else is sent."""

VOCABULARIES = {"tokenizer.json", "vocab.txt", "vocab.json"}


class Upload(NamedTuple):
    """What one setting names on this machine."""

    setting: str
    path: Path
    files: dict[str, Path]
    """By their names below the address."""
    address: str
    """Where it will be in the store."""
    folder: str
    """The address that starts with its digest, and holds nothing else."""
    state: tuple[tuple[int, int], ...]
    """Size in bytes and time of the last change of each file when its digest was made."""

    def __str__(self) -> str:
        count = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{self.setting}: {count}, {_size(sum(size for size, _ in self.state))}, from {self.path}"


def with_addresses(settings: SlipwaySettings) -> tuple[SlipwaySettings, list[Upload]]:
    """The settings with places in the store for what lies on this machine, and what is to be sent there.

    Args:
        settings: for pods, so with a store.

    Raises:
        BadInput: something is not there, is empty, or is no data or encoder; a store cannot be written.
    """
    store = f"{settings.cluster.store.rstrip('/')}/{UPLOADS}"
    uploads: list[Upload] = []
    if path := sources.local_path(settings.data.source):
        uploads.append(_data(settings, path, f"{store}/data"))
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update={"source": uploads[-1].address})}
        )
    own: dict[str, Upload] = {}
    for setting, name in encoders(settings):
        if name not in own and (path := _encoder_path(setting, name)):
            own[name] = _encoder(setting, name, path, f"{store}/encoders")
    uploads += own.values()
    if uploads:
        storage.check_writable(store)
    return _with_encoders(settings, {name: upload.address for name, upload in own.items()}), uploads


def send(uploads: list[Upload], console: Console) -> None:
    """Store what is not in the store yet, and say what.

    Raises:
        BadInput: a file cannot be read or changed meanwhile, or the store cannot be used.
    """
    for upload in uploads:
        there = storage.sizes(upload.folder)
        prefix = upload.address.removeprefix(upload.folder).strip("/")
        sizes = dict(zip(upload.files, (size for size, _ in upload.state), strict=True))
        names = {f"{prefix}/{name}".strip("/"): name for name in upload.files}
        missing = {key: name for key, name in names.items() if there.get(key) != sizes[name]}
        if not missing:
            console.print(f"{upload}; it is at {upload.address}", markup=False, highlight=False)
            continue
        part = "" if len(missing) == len(names) else f" (the last {len(missing)} of them)"
        console.print(f"{upload}, to {upload.address}{part}", markup=False, highlight=False)
        total = sum(sizes[name] for name in missing.values())
        _send(upload, {key: upload.files[name] for key, name in missing.items()}, total, console)


def _send(upload: Upload, missing: dict[str, Path], total: int, console: Console) -> None:
    with (
        _reading(upload.path),
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("uploading", total=total)
        for key, path in missing.items():
            storage.upload_file(path, f"{upload.folder}/{key}", lambda count: progress.advance(task, count))
        changed = _state(upload.files) != upload.state
    if changed:
        storage.remove_folder(upload.folder)
        raise BadInput(f"{upload.path} changed while it was uploaded; submit again when nobody writes to it")


def _data(settings: SlipwaySettings, path: Path, store: str) -> Upload:
    with _reading(path):
        path = path.resolve() if path.is_dir() else path.absolute()  # a link to a file gives it its name
        files = {
            file.relative_to(path).as_posix() if path.is_dir() else "": file
            for file in sources.data_files(path, settings.data)
        }
        upload = _upload("data.source", path, files, store, path.name or "data")
    for file, (size, _) in zip(files.values(), upload.state, strict=True):
        if not size:
            raise BadInput(f"data.source: {file} is empty; give files with labelled texts")
    return upload


def _encoder_path(setting: str, name: str) -> Path | None:
    """The folder of an encoder that lies on this machine."""
    if name in PACKAGED or is_stored(name):
        return None
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:  # a home that nobody has
        raise BadInput(f"{setting} {name} cannot be read: {error}") from error
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")):
        raise BadInput(f"{setting} {name} is no folder; give one with a model in the Hugging Face layout")
    return None


def _encoder(setting: str, name: str, path: Path, store: str) -> Upload:
    from slipway.components.artifacts.checkpoint import check_encoder  # loads the framework

    check_encoder(name)
    path = path.resolve()
    visible = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    files = {file.relative_to(path).as_posix(): file for file in visible if file.suffix in ENCODER_FILES}
    if not any(file.suffix == ".safetensors" for file in files.values()):
        raise BadInput(f"{setting} {path} has no weights in a .safetensors file; save the model again with them")
    if not any(file.name in VOCABULARIES or file.suffix == ".model" for file in files.values()):
        raise BadInput(f"{setting} {path} has no tokenizer; save it into the folder, too")  # transformers makes one up
    with _reading(path):
        return _upload(setting, path, files, store, "")


def _upload(setting: str, path: Path, files: dict[str, Path], store: str, name: str) -> Upload:
    """What is to be sent, under a digest of names and contents."""
    for file in files.values():
        if path.is_dir() and not file.resolve().is_relative_to(path):
            raise BadInput(
                f"{setting} {path} holds {file.relative_to(path)}, a symbolic link that leads out of it and is not "
                "followed; put the file itself there, or remove the link"
            )
    whole, state = hashlib.sha256(), _state(files)
    for below, file in files.items():
        key = f"{name}/{below}".strip("/")
        try:
            whole.update(key.encode() + b"\0")
        except UnicodeEncodeError:
            raise BadInput(f"{setting}: the name of {str(file)!r} is not UTF-8; rename the file") from None
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    folder = f"{store}/{whole.hexdigest()[:16]}"
    return Upload(setting, path, files, f"{folder}/{name}".rstrip("/"), folder, state)


def _with_encoders(settings: SlipwaySettings, addresses: dict[str, str]) -> SlipwaySettings:
    """The settings with other names of encoders; one that no candidate uses would name nothing there."""
    used = any(setting == "train.encoder" for setting, _ in encoders(settings))
    changed = with_encoders(settings, addresses)
    if used or not _encoder_path("train.encoder", changed.train.encoder):
        return changed
    train = changed.train.model_copy(update={"encoder": TrainSettings().encoder})
    return changed.model_copy(update={"train": train})


def _state(files: dict[str, Path]) -> tuple[tuple[int, int], ...]:
    found = [os.stat(path) for path in files.values()]
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in found)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"{error.filename or path} cannot be read: {error.strerror or error}") from error


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
