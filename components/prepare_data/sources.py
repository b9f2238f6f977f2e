"""Find and read the labelled texts of the setting `source`: a file, a folder, S3, the hub, or the sample."""

import hashlib
import importlib.resources
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from slipway.components.artifacts.encoder import HUB_NAME
from slipway.components.errors import BadInput
from slipway.components.platforms import storage
from slipway.components.prepare_data import hub
from slipway.components.prepare_data.formats import (
    SUFFIXES,
    Example,
    file_format,
    read_file,
    suffix_of,
    with_types,
)
from slipway.components.prepare_data.settings import SAMPLE, DataSettings
from slipway.components.step_runtime import progress

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


OTHER_FILES = {".arrow", ".avro", ".feather", ".gz", ".json", ".orc", ".txt", ".xls", ".xlsx", ".zip"}
"""More suffixes of data files. What has one is no name of a dataset on a hub."""


class Source(NamedTuple):
    """The rows of a source in order, and the names of the files or splits that they came from."""

    examples: list[Example]
    parts: list[str]


def read(settings: DataSettings) -> Source:
    """Read all rows of the source.

    Raises:
        BadInput: the source does not exist, cannot be reached, or is malformed; see `formats`.
    """
    if _is_hub_name(settings.source):
        rows = hub.read(settings)
        known = {name: SPLIT_NAMES[name] for name in rows if name in SPLIT_NAMES} or dict.fromkeys(rows, "train")
        splits = known if settings.ready_splits else dict.fromkeys(known, "")
        examples = [Example(*row, split) for name, split in splits.items() for row in rows[name]]
        return Source(examples, list(known))
    with _local(settings.source) as path:
        files = data_files(path, settings)
        progress.report("prepare_data", f"reading {len(files)} files")
        examples = _rows(files, path, settings)
        return Source(examples, [file.relative_to(path).as_posix() if path.is_dir() else file.name for file in files])


def read_local(settings: DataSettings, most_bytes: int | None = None) -> list[Example] | None:
    """The rows of data on this machine; None if the data are elsewhere or larger than the limit.

    Args:
        settings: of the data.
        most_bytes: of larger data, only the files are looked for. None for no limit.

    Raises:
        BadInput: the data are not there, malformed, or lack a column.
    """
    path = local_path(settings.source)
    if path is None:
        return None
    files = data_files(path, settings)
    if most_bytes is not None and sum(file.stat().st_size for file in files) > most_bytes:
        return None
    return _rows(files, path, settings)


def with_column(settings: DataSettings, name: str, setting: str) -> list[Example]:
    """The rows that `read` returns, in the same order, with the values of another column in place of the labels.

    Args:
        settings: of the data.
        name: of the column.
        setting: the setting that names it, for messages.

    Raises:
        BadInput: the source cannot be read, or lacks the column.
    """
    renamed = settings.model_copy(update={"label_column": name})
    try:
        rows = read_local(renamed)
        return read(renamed).examples if rows is None else rows
    except BadInput as error:
        raise BadInput(str(error).replace("data.label_column", f"data.{setting}")) from error


def _rows(files: Sequence[Path], source: Path, settings: DataSettings) -> list[Example]:
    """All rows of the files of a source, which have one format."""
    examples = []
    for file in files:
        examples.extend(read_file(file, settings, _split_of(file, source) if settings.ready_splits else ""))
    return with_types(examples, file_format(files[0], settings.format))


def version(settings: DataSettings) -> str | None:
    """The version of the data: a text that changes when the data change; None when that needs reading them.

    It is a digest of the files or of the store's list of objects, or a commit of the hub. It is empty for the sample,
    which is part of the code.

    Raises:
        BadInput: the source does not exist or cannot be read.
    """
    source = settings.source
    if source == SAMPLE:
        return ""
    if source.startswith("s3://"):
        return storage.version_of(source)
    if _is_hub_name(source):
        _, _, revision = source.partition("@")
        return revision if re.fullmatch(r"[0-9a-f]{40}", revision) else hub.revision(source) or None
    try:
        return _digest(_existing(source))
    except (OSError, RuntimeError) as error:  # RuntimeError: `~name` for a user who does not exist
        raise BadInput(f"data.source {source} cannot be read: {error}") from error


def _digest(path: Path) -> str:
    """SHA-256 over the names and contents of a file or of all files of a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def pinned(settings: DataSettings) -> DataSettings:
    """The settings with the present commit of a dataset on the hub, so that all steps read the same data.

    Raises:
        BadInput: there is no such dataset, or the hub cannot be reached.
    """
    if not _is_hub_name(settings.source):
        return settings
    return settings.model_copy(update={"source": hub.pinned(settings.source)})


def local_path(source: str) -> Path | None:
    """The path of a source on this machine; None for a source that all machines can read.

    Raises:
        BadInput: the source looks like a path that does not exist.
    """
    if source == SAMPLE or source.startswith("s3://"):
        return None
    try:
        return None if _is_hub_name(source) else _existing(source)
    except (OSError, RuntimeError) as error:  # RuntimeError: `~name` for a user who does not exist
        raise BadInput(f"data.source {source} cannot be read: {error}") from error


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        raise BadInput(
            f"data.source {source!r} does not exist; give a file, a folder, an s3:// URI, or a Hugging Face dataset"
        )
    return path


def _is_hub_name(source: str) -> bool:
    """Whether the source names a Hugging Face dataset (`org/name@revision`): it has this form, and is no path."""
    path = Path(source).expanduser()
    looks_like_file = {suffix_of(path), path.suffix.lower()} & (SUFFIXES.keys() | OTHER_FILES)
    return bool(HUB_NAME.fullmatch(source)) and not looks_like_file and source != SAMPLE and not path.exists()


@contextmanager
def _local(source: str) -> Iterator[Path]:
    """The file or folder of a source. Data on S3 are downloaded, and the copy is removed afterwards."""
    if source == SAMPLE:
        sample = importlib.resources.files("slipway.components.prepare_data.samples") / "customer_messages.csv"
        with importlib.resources.as_file(sample) as path:
            yield path
    elif source.startswith("s3://"):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / (source.rstrip("/").rsplit("/", 1)[1] or "data")
            progress.report("prepare_data", f"downloading {source}")
            if storage.folder_exists(source):  # also one whose name looks like that of a file
                storage.download_folder(source, path)
            else:
                storage.download_file(source, path)
            yield path
    else:
        yield _existing(source)


def data_files(path: Path, settings: DataSettings) -> list[Path]:
    """The data files at a path: the file itself, or all files of one format below a folder, sorted by name.

    If the settings name a format that no suffix shows, the files with other suffixes or none are of that format.

    Raises:
        BadInput: there are no data files, their formats differ, or the suffix of the file is unknown.
    """
    if path.is_file():
        if settings.ready_splits:
            raise BadInput(
                f"data.ready_splits needs a folder with files named train, validation and test; {path} is a file"
            )
        file_format(path, settings.format)
        return [path]
    candidates = [file for file in sorted(path.rglob("*")) if file.is_file() and not _is_hidden(file.relative_to(path))]
    known = [file for file in candidates if suffix_of(file) in SUFFIXES]
    formats = Counter(SUFFIXES[suffix_of(file)] for file in known)
    if settings.format != "auto":
        others = [file for file in candidates if file not in known]
        known = [file for file in known if SUFFIXES[suffix_of(file)] == settings.format] or others
    elif len(formats) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(formats.items()))
        raise BadInput(f"folder {path} mixes formats ({listed}); set data.format to the one to read")
    if not known:
        wanted = ", ".join(SUFFIXES) if settings.format == "auto" else settings.format
        advice = "set data.format if these are data" if candidates else "check data.source"
        raise BadInput(f"folder {path} has no data files ({wanted}) among its {len(candidates)} files; {advice}")
    return known


def _is_hidden(file: Path) -> bool:
    """Whether a file of a folder is no data: a hidden one, or `_SUCCESS`, `_delta_log/…` as Spark writes them."""
    marked = [*file.parts[:-1], *([] if suffix_of(file) in SUFFIXES else [file.name])]
    return any(part.startswith(".") for part in file.parts) or any(part.startswith("_") for part in marked)


def _split_of(file: Path, folder: Path) -> str:
    """The split in the name of a file or of one of its folders, such as `train-00000.parquet` or `test/a.csv`."""
    relative = file.relative_to(folder)
    for part in reversed(relative.parts):
        first_word = re.split(r"[^a-z]", part.lower())[0]
        if first_word in SPLIT_NAMES:
            return SPLIT_NAMES[first_word]
    raise BadInput(
        f"data.ready_splits: the name of {relative} does not begin with train, validation or test; rename it, or "
        "set data.ready_splits to false"
    )


def by_file(settings: DataSettings) -> dict[str, list[Example]]:
    """The rows of each file of the source, or of each split of a dataset on a hub. Raises as `read`."""
    if _is_hub_name(settings.source):
        return {split: [Example(*row) for row in rows] for split, rows in hub.read(settings).items()}
    with _local(settings.source) as path:
        return {
            file.relative_to(path).as_posix() if path.is_dir() else file.name: read_file(file, settings)
            for file in data_files(path, settings)
        }
