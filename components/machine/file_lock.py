"""Locks between processes of one machine: a file that one process at a time holds.

The system lets go of a lock when its holder dies, however it dies (flock(2)), so no lock is ever left behind.

The library `filelock` is not used: a lock of ours says in the file who holds it, others ask for that without taking
the lock, and a lock file of an earlier release that others may open is closed to them (see `private_files`). It would
also be one more package in the image of model servers.
"""

import fcntl
import time
from pathlib import Path
from typing import IO

from slipway.components.machine.private_files import lock_file

PAUSE_S = 0.05
"""Between two attempts to take a lock."""
LOOK_S = 0.5
"""Least time to try for: `holder` holds a free lock for a moment, and must not make its taker give up."""


class Held(Exception):
    """Another process holds the lock; the message is what that process wrote to the file."""


def take(path: Path, wait_s: float = 0.0, note: str = "") -> IO[str]:
    """Take a lock. It is held until the file that is returned is closed, by `with` say, or the process ends.

    Args:
        path: of the file, which is made when it is not there; its folder is.
        wait_s: for how long to wait for another holder; infinity is allowed.
        note: what the file says meanwhile, for `holder`; empty leaves it as it is.

    Raises:
        Held: another process still holds it.
        OSError: the file cannot be opened.
    """
    file = lock_file(path)
    until = time.monotonic() + max(wait_s, LOOK_S)
    try:
        while not _locked(file, fcntl.LOCK_EX):
            if time.monotonic() >= until:
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
    """What the holder of a lock wrote to its file; None when nobody holds it, or there is no such file."""
    try:
        file = path.open("r", encoding="utf-8")
    except OSError:
        return None
    with file:
        return None if _locked(file, fcntl.LOCK_SH) else file.read()  # shared: those who look do not see each other


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
