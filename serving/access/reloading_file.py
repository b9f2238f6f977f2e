"""Values read from files that may be replaced while the server runs: keys, certificates, mounted secrets."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from slipway.components.errors import SlipwayError

T = TypeVar("T")
logger = logging.getLogger("serving")
CHECK_S = 1.0
"""Shortest time between two checks of the files for changes."""


class ReloadingFile(Generic[T]):
    """A value that was read from files. When one of them has changed, the next use reads it again.

    If a file is broken or missing, the former value stays in use and the log gives the reason. Threads may share an
    object: at worst two of them read the files at the same time.

    Args:
        what: name of the value in the log.
        paths: the files. Kubernetes replaces a mounted secret by moving a symbolic link, which counts as a change.
        read: reads the files and returns the value.

    Raises:
        SlipwayError: the first call of `read` failed.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._paths, self._read = what, paths, read
        self._known = self._fingerprints()  # before the read, so that a change during it is noticed
        self._value = read()
        self._next_check = time.monotonic() + CHECK_S

    def current(self) -> T:
        """The value, at most `CHECK_S` older than the files."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK_S
            if (fingerprints := self._fingerprints()) != self._known:
                self._known = fingerprints
                self._reload()
        return self._value

    def _reload(self) -> None:
        try:
            self._value = self._read()
            logger.info("event=reloaded what=%s", self._what)
        except SlipwayError as error:
            logger.error("event=reload_failed what=%s reason=%r; the former stays in use", self._what, str(error))

    def _fingerprints(self) -> list[tuple[int, ...] | None]:
        return [_fingerprint(path) for path in self._paths]


def _fingerprint(path: Path) -> tuple[int, ...] | None:
    """Attributes of a file that change when it is replaced or written to; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
