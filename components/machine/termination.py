"""Ends this process by an exception when it is told to end, so that it can leave things in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that `finally` blocks run. Python allows that in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def exit_process(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, exit_process)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
