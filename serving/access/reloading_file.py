"""Files that may be replaced while the server runs: keys, certificates, mounted secrets."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from slipway.components.errors import SlipwayError

T = TypeVar("T")
logger = logging.getLogger("serving")
LOOK_S = 1.0
"""Between two looks at the files."""


class Watched(Generic[T]):
    """What was read from files; read again, at the next use, when one of them has changed.

    A file that is broken or gone changes nothing: what was read before holds, and the log says why. May be shared by
    threads: at worst two of them read the files at the same time.

    Args:
        what: the name of it in the log.
        paths: the files. Kubernetes replaces a mounted secret by moving a link, which counts as a change.
        read: reads them.

    Raises:
        SlipwayError: the first reading failed; as `read` says.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._paths, self._read = what, paths, read
        self._seen = self._marks()
        self._value = read()
        self._next_look = time.monotonic() + LOOK_S

    def current(self) -> T:
        """The value of now."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            if (marks := self._marks()) != self._seen:
                self._seen = marks
                self._renew()
        return self._value

    def _renew(self) -> None:
        try:
            self._value = self._read()
            logger.info("event=reloaded what=%s", self._what)
        except SlipwayError as error:
            logger.error("event=reload_failed what=%s reason=%r; the former stays in use", self._what, str(error))

    def _marks(self) -> list[tuple[int, ...] | None]:
        return [_mark(path) for path in self._paths]


def _mark(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is replaced or written to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
