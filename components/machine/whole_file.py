"""Replaces files atomically: a reader sees the old content or the new content, never a part.

The new content is written to a file beside the old one, which is then renamed (rename(2) is atomic within a file
system). A rename may reach the disk before the content does, which would leave an empty file after a loss of power.
A file that must survive this is synced before the rename, and its folder after it; this costs some milliseconds.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666, durable: bool = True) -> Iterator[Path]:
    """Yield an empty file beside `path`. At the end it replaces `path`; after an error it is removed.

    Several processes may replace the same file at the same time; the last one wins.

    Args:
        path: of the file; its folder must exist.
        mode: rights of the new file, less the umask. It has them from its creation on.
        durable: whether the content must survive a loss of power.

    Raises:
        OSError: the file cannot be written.
    """
    # A random name, so no other user can have put a link there.
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    try:
        yield new
        if durable:
            sync(new)
        new.replace(path)
        if durable:
            sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def replace(path: Path, content: bytes | str, mode: int = 0o666, durable: bool = True) -> None:
    """Replace the whole content of a file; text is written in UTF-8. See `replacing`."""
    with replacing(path, mode, durable) as new:
        new.write_bytes(content.encode() if isinstance(content, str) else content)


def sync(path: Path) -> None:
    """Write the content of a file, or the names in a folder, to the disk (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
