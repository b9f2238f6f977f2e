"""Locks between processes of one machine: a file that one process at a time holds.

The system releases a lock when its holder ends for any reason (flock(2)), so no lock is ever left behind.

The library `filelock` is not used. Here the file names its holder, and other processes can read that without taking the
lock. A lock file that other users may open, as earlier releases made it, becomes private (see `private_files`). The
library would also be one more package in the image of model servers.
"""

import fcntl
import time
from pathlib import Path
from typing import IO

from slipway.components.machine.private_files import lock_file

PAUSE_S = 0.05
"""Seconds between two attempts to take a lock."""
LOOK_S = 0.5
"""Seconds that `take` tries at least: `holder` holds a free lock for a moment, which must not make `take` fail."""


class Held(Exception):
    """Another process holds the lock; the message is what that process wrote to the file."""


def take(path: Path, wait_s: float = 0.0, note: str = "") -> IO[str]:
    """Take a lock. It is held until the returned file is closed, for example by `with`, or until the process ends.

    Args:
        path: of the lock file; a missing file is created, its folder must exist.
        wait_s: how long to wait for another holder, in seconds; infinity is allowed.
        note: written to the file for `holder`; empty leaves the file as it is.

    Raises:
        Held: another process still holds it.
        OSError: the file cannot be opened.
    """
    file = lock_file(path)
    deadline = time.monotonic() + max(wait_s, LOOK_S)
    try:
        while not _locked(file, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise Held(path.read_text("utf-8"))
            time.sleep(PAUSE_S)
        if note:
            file.truncate(0)
            file.write(note)
            file.flush()
    except BaseException:
        file.close()
        raise
    return file


def holder(path: Path) -> str | None:
    """The note of the process that holds a lock; None when no process does, or there is no such file."""
    try:
        file = path.open("r", encoding="utf-8")
    except OSError:
        return None
    with file:
        # A shared lock, so that two callers of `holder` do not take each other for the holder.
        return None if _locked(file, fcntl.LOCK_SH) else file.read()


def _locked(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
