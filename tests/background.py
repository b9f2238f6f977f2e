"""Work that goes on while a test looks at what it does."""

import threading
import time
from collections.abc import Callable
from typing import Any


class Background(threading.Thread):
    """Work in a thread; `result` waits for it and raises what it raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work: Callable[[], Any] = work
        self.done: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.done = self.work()
        except BaseException as error:
            self.error = error

    def result(self) -> Any:
        self.join(900)
        assert not self.is_alive()
        if self.error:
            raise self.error
        return self.done


def eventually(true: Callable[[], Any], work: Background | None = None) -> Any:
    """The first true value, which must come within five minutes and while the work goes on."""
    for _ in range(1500):
        if value := true():
            return value
        assert work is None or work.is_alive(), work.error
        time.sleep(0.2)
    raise AssertionError("it never came true")
