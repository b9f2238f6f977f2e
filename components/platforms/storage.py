"""Stores bundles and data in a folder, or at `s3://bucket/prefix` of any S3-compatible store.

Endpoint, region and credentials come from the usual `AWS_*` variables, files and roles. If a store cannot be reached or
refuses access, every function raises one `BadInput` within seconds. It names endpoint and bucket, never a key.

Readers see a folder as a whole or not at all, as far as the store allows. A local folder is written beside its place
and then renamed. S3 has no rename, so `bundle.json` (of an encrypted bundle `encryption.json`) is removed first and
written last.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.machine import whole_file
from slipway.components.platforms.s3 import opened

MARKERS = {"bundle.json", "encryption.json"}
"""Files that make a folder a bundle: without one of them, readers do not take it for a bundle."""


def upload_folder(folder: Path, uri: str) -> None:
    """Store all files below a folder under a URI. A bundle that is already there is replaced.

    Raises:
        BadInput: the folder has no files, the URI cannot be written, or there is something else than a bundle.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise BadInput(f"folder {folder} holds no files to store in {uri}")
    if not _is_s3(uri):
        with _replacing(Path(uri)) as temporary:
            shutil.copytree(folder, temporary)
        return
    with opened(uri) as location:
        if not location.prefix:
            raise BadInput(f"{uri!r} names a whole bucket; give a prefix in it, as in s3://{location.bucket}/bundles")
        present = set(location.names())
        foreign = present - set(files)
        marked = MARKERS & present
        if foreign and not marked:
            raise BadInput(f"{uri} holds other objects, such as {min(foreign)}; give a prefix of its own")
        location.delete(*marked)
        for name in sorted(files, key=MARKERS.__contains__):  # the markers last
            if name in MARKERS:
                location.delete(*foreign - marked)
            location.upload(files[name], name)


def upload_file(path: Path, uri: str, sent: Callable[[int], None] | None = None) -> None:
    """Store one file at a URI of S3, where it appears when it is complete.

    Args:
        path: the file, which is not read into memory as a whole.
        uri: `s3://bucket/key`.
        sent: called with the number of bytes sent since the last call. Bytes of a repeated attempt count again.

    Raises:
        BadInput: the URI cannot be written.
    """
    folder, _, name = uri.rpartition("/")
    with opened(folder) as location:
        location.upload(path, name, sent)


def sizes(uri: str) -> dict[str, int]:
    """The size in bytes of every object below a URI of S3, by its name relative to the URI.

    Raises:
        BadInput: the store cannot be used.
    """
    with opened(uri) as location:
        return location.sizes()


def download_folder(uri: str, folder: Path) -> None:
    """Copy all files under a URI to a folder, which appears when it is complete.

    Raises:
        BadInput: there is nothing under the URI, it cannot be read, or the folder has something else than a bundle.
    """
    if not _is_s3(uri) and not Path(uri).is_dir():
        raise BadInput(f"folder {uri} does not exist; check the path")
    with _replacing(folder) as temporary:
        if not _is_s3(uri):
            shutil.copytree(uri, temporary)
            return
        with opened(uri) as location:
            names = location.names()
            if not names:
                raise BadInput(f"{location} holds no objects under {location.prefix!r}; check the prefix")
            for name in names:
                if {"", ".", ".."} & set(name.split("/")):  # after an empty first part the rest is an absolute path
                    raise BadInput(f"{uri} holds an object whose name {name!r} leads out of the folder; remove it")
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                location.download(name, target)


def download_file(uri: str, path: Path) -> None:
    """Copy one file to a path, where it appears when it is complete.

    Raises:
        BadInput: the file does not exist or cannot be read, or the path cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file.replacing(path, durable=False) as temporary:  # not synced, since it can be copied again
            if _is_s3(uri):
                with opened(uri) as location, temporary.open("wb") as file:
                    shutil.copyfileobj(
                        location.client.get_object(Bucket=location.bucket, Key=location.prefix)["Body"], file
                    )
            else:
                shutil.copyfile(uri, temporary)
    except OSError as error:
        raise BadInput(f"{uri} cannot be copied to {path}: {error.strerror or error}; check the path") from error


def remove_folder(uri: str) -> None:
    """Remove all files under a URI; nothing happens if there are none.

    Raises:
        BadInput: the store cannot be used, or the URI names a whole bucket.
    """
    if not _is_s3(uri):
        shutil.rmtree(uri, ignore_errors=True)
        return
    with opened(uri) as location:
        if not location.prefix:
            raise BadInput(f"{uri!r} names a whole bucket, which is not removed; give a prefix in it")
        location.delete(*location.names())


def file_exists(uri: str) -> bool:
    """Whether there is a file at a URI.

    Raises:
        BadInput: the store cannot be used.
    """
    if not _is_s3(uri):
        return Path(uri).is_file()
    with opened(uri) as location:
        listing = location.client.list_objects_v2(Bucket=location.bucket, Prefix=location.prefix, MaxKeys=1)
        return any(item["Key"] == location.prefix for item in listing.get("Contents", []))


def folder_exists(uri: str) -> bool:
    """Whether there is any file under a URI.

    Raises:
        BadInput: the store cannot be used.
    """
    if not _is_s3(uri):
        return any(path.is_file() for path in Path(uri).rglob("*"))
    with opened(uri) as location:
        listing = location.client.list_objects_v2(Bucket=location.bucket, Prefix=location.key(""), MaxKeys=1)
        return bool(listing.get("Contents"))


def version_of(uri: str) -> str:
    """A digest of name, size and ETag of an object, or of all objects below a prefix of S3.

    Raises:
        BadInput: there is no object, or the store cannot be used.
    """
    whole = hashlib.sha256()
    with opened(uri) as location:
        pages = location.client.get_paginator("list_objects_v2").paginate(
            Bucket=location.bucket, Prefix=location.prefix
        )
        objects = [item for page in pages for item in page.get("Contents", [])]
        # The listing also has objects whose names only begin like the prefix, such as `data2` for `data`.
        matching = [
            item for item in objects if item["Key"] == location.prefix or item["Key"].startswith(location.key(""))
        ]
        if not matching:
            raise BadInput(f"{location} holds no object {location.prefix!r}, nor any below it; correct the URI")
        for item in matching:
            whole.update(f"{item['Key']}\0{item['Size']}\0{item['ETag']}\n".encode())
    return whole.hexdigest()


def check_writable(uri: str) -> None:
    """Check, before a long run, that its results can be stored: write and remove a small file.

    Raises:
        BadInput: the URI cannot be written.
    """
    probe = f".slipway-write-check-{uuid.uuid4().hex}"
    if _is_s3(uri):
        with opened(uri) as location:
            location.client.put_object(Bucket=location.bucket, Key=location.key(probe), Body=b"")
            location.delete(probe)
        return
    try:
        Path(uri).mkdir(parents=True, exist_ok=True)
        (Path(uri) / probe).touch()
        (Path(uri) / probe).unlink()
    except OSError as error:
        raise BadInput(f"folder {uri} cannot be written: {error.strerror}; give one that can") from error


def _is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary path beside `folder` to write to. At the end it is renamed to `folder`; after an error it is removed.

    Raises:
        BadInput: the folder exists and is not a bundle, or cannot be written.
    """
    if folder.exists() and not (
        folder.is_dir() and (any((folder / name).exists() for name in MARKERS) or not any(folder.iterdir()))
    ):
        raise BadInput(f"{folder} exists and is not a bundle; give a folder of its own")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _put_in_place(temporary, folder)
    except (OSError, shutil.Error) as error:
        raise BadInput(f"folder {folder} cannot be written: {error}; give one that can") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`. A former folder is removed afterwards, or put back if the renaming fails."""
    if not folder.exists():
        new.rename(folder)
        return
    old = new.with_name(f"{new.name}.old")
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)
