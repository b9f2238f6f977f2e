"""Files that are replaced in one move: a reader sees the old content or the new, never a part.

The new content is written beside the file and renamed over it (rename(2) is atomic within a file system). A rename may
reach the disk before the content does, and so leave an empty file after a loss of power. What must survive that is
written to the disk first, and the folder after the rename; this costs some milliseconds.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666, durable: bool = True) -> Iterator[Path]:
    """An empty file beside `path` to write to; it takes the place of `path` at the end, and goes away after an error.

    Several processes may replace the same file at a time: the last one wins.

    Args:
        path: of the file; its folder is there.
        mode: rights of the new file, less the umask, from its first byte on.
        durable: whether the content must survive a loss of power.

    Raises:
        OSError: the file cannot be written.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # nobody can have put a link to elsewhere there
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
    """Bring the content of a file, or the names in a folder, to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
