"""Upload data and encoders of this machine to the store, under their digest, for a run whose steps are pods.

    STORE/uploads/data/DIGEST/NAME          a file, or a folder with its data files
    STORE/uploads/encoders/DIGEST/          an encoder's folder

An object of S3 exists as a whole or not at all, and the content under a digest does not change. So after an interrupted
upload only the missing files are uploaded.
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
"""Suffixes of the files that transformers reads: configuration, tokenizer, weights. No other files are uploaded."""


class Upload(NamedTuple):
    """The files on this machine that one setting names."""

    setting: str
    path: Path
    files: dict[str, Path]
    """Their names below the address, and their paths here."""
    address: str
    """URI that the setting gets: of the file or folder in the store."""
    folder: str
    """URI of the folder that is named by the digest. It holds this upload only."""
    state: tuple[tuple[int, int], ...]
    """Size in bytes, and time of the last change in nanoseconds, of each file when its digest was computed."""

    def __str__(self) -> str:
        count = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{self.setting}: {count}, {_size(sum(size for size, _ in self.state))}, from {self.path}"


def with_addresses(settings: SlipwaySettings) -> tuple[SlipwaySettings, list[Upload]]:
    """Replace paths of this machine in the settings by addresses in the store. Nothing is uploaded yet.

    Args:
        settings: resolved for pods, so with a store.

    Returns:
        The settings, and the uploads that they need.

    Raises:
        BadInput: a path does not exist, is empty, or is no data or encoder; or the store cannot be written.
    """
    store = f"{settings.cluster.store.rstrip('/')}/{UPLOADS}"
    uploads: list[Upload] = []
    if path := sources.local_path(settings.data.source):
        uploads.append(_data_upload(settings, path, f"{store}/data"))
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update={"source": uploads[-1].address})}
        )
    encoder_uploads: dict[str, Upload] = {}
    for setting, name in encoders(settings):
        if name not in encoder_uploads and (path := _encoder_path(setting, name)):
            encoder_uploads[name] = _encoder_upload(setting, name, path, f"{store}/encoders")
    uploads += encoder_uploads.values()
    if uploads:
        storage.check_writable(store)
    return _with_encoders(settings, {name: upload.address for name, upload in encoder_uploads.items()}), uploads


def send(uploads: list[Upload], console: Console) -> None:
    """Upload the files that the store does not have yet, and print what is uploaded.

    Raises:
        BadInput: a file cannot be read or has changed meanwhile, or the store cannot be used.
    """
    for upload in uploads:
        stored_sizes = storage.sizes(upload.folder)
        prefix = upload.address.removeprefix(upload.folder).strip("/")
        sizes = dict(zip(upload.files, (size for size, _ in upload.state), strict=True))
        names = {f"{prefix}/{name}".strip("/"): name for name in upload.files}
        missing = {key: name for key, name in names.items() if stored_sizes.get(key) != sizes[name]}
        if not missing:
            console.print(f"{upload}; it is at {upload.address}", markup=False, highlight=False)
            continue
        note = "" if len(missing) == len(names) else f" (the last {len(missing)} of them)"
        console.print(f"{upload}, to {upload.address}{note}", markup=False, highlight=False)
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


def _data_upload(settings: SlipwaySettings, path: Path, store: str) -> Upload:
    with _reading(path):
        path = path.resolve() if path.is_dir() else path.absolute()  # a link to a file keeps the name of the link
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
    """The folder of an encoder on this machine; None for one that pods load themselves."""
    if name in PACKAGED or is_stored(name):
        return None
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:  # `~name` for a user who does not exist
        raise BadInput(f"{setting} {name} cannot be read: {error}") from error
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")):
        raise BadInput(f"{setting} {name} is no folder; give one with a model in the Hugging Face layout")
    return None


def _encoder_upload(setting: str, name: str, path: Path, store: str) -> Upload:
    from slipway.components.artifacts.encoder_check import check_encoder  # loads the framework

    check_encoder(name)
    path = path.resolve()
    visible = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    files = {file.relative_to(path).as_posix(): file for file in visible if file.suffix in ENCODER_FILES}
    with _reading(path):
        return _upload(setting, path, files, store, "")


def _upload(setting: str, path: Path, files: dict[str, Path], store: str, name: str) -> Upload:
    """Describe the upload of files, under a digest of their names and contents.

    Args:
        setting: that names the files.
        path: of the file or folder.
        files: names below `path` to paths.
        store: URI below which the folder of the digest will be.
        name: of the file or folder below the digest; empty to use the folder of the digest itself.

    Raises:
        BadInput: a symbolic link leads out of the folder, or a name is not UTF-8.
    """
    for file in files.values():
        if path.is_dir() and not file.resolve().is_relative_to(path):
            raise BadInput(
                f"{setting} {path} holds {file.relative_to(path)}, a symbolic link that leads out of it and is not "
                "followed; put the file itself there, or remove the link"
            )
    digest, state = hashlib.sha256(), _state(files)
    for relative_name, file in files.items():
        key = f"{name}/{relative_name}".strip("/")
        try:
            digest.update(key.encode() + b"\0")
        except UnicodeEncodeError:
            raise BadInput(f"{setting}: the name of {str(file)!r} is not UTF-8; rename the file") from None
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    folder = f"{store}/{digest.hexdigest()[:16]}"
    return Upload(setting, path, files, f"{folder}/{name}".rstrip("/"), folder, state)


def _with_encoders(settings: SlipwaySettings, addresses: dict[str, str]) -> SlipwaySettings:
    """The settings with addresses for encoders.

    A `train.encoder` that no candidate uses is not uploaded. Its path means nothing in a pod, so it gets its default.
    """
    used = any(setting == "train.encoder" for setting, _ in encoders(settings))
    changed = with_encoders(settings, addresses)
    if used or not _encoder_path("train.encoder", changed.train.encoder):
        return changed
    train = changed.train.model_copy(update={"encoder": TrainSettings().encoder})
    return changed.model_copy(update={"train": train})


def _state(files: dict[str, Path]) -> tuple[tuple[int, int], ...]:
    """Size and time of the last change of each file, by which a change during the upload is noticed."""
    statuses = [os.stat(path) for path in files.values()]
    return tuple((status.st_size, status.st_mtime_ns) for status in statuses)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn an OSError into BadInput that names the file."""
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
