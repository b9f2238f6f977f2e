"""One budget of bytes for the requests of the whole process: what is read of them and not answered yet.

It is taken before a body is read, so that any number of callers, each within its own quota, cannot fill the memory.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.serving.access.caller import Caller
from slipway.serving.errors import Overloaded

Identity = tuple[str, str]
SHARE = 2
"""One identity may have this part (a half) of the budget, so that it cannot keep others out."""


class Budget:
    """Counts bytes at hand; lives on the event loop, so it needs no locks.

    Args:
        limit: bytes of all requests together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._of: Counter[Identity] = Counter()

    @contextmanager
    def portion(self, caller: Caller) -> Iterator["Portion"]:
        """What a request of this caller takes, until the end of the context."""
        portion = Portion(self, caller)
        try:
            yield portion
        finally:
            portion.resize(0)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be taken by somebody."""
        return self._used + size <= self._limit

    def fits(self, caller: Caller, size: int) -> bool:
        """Whether so many bytes more may be taken by this caller."""
        return self.has_room(size) and self._of[caller.identity] + size <= self._limit // SHARE

    def add(self, caller: Caller, size: int) -> None:
        """Count bytes in, or out when `size` is negative."""
        self._used += size
        self._of[caller.identity] += size
        if not self._of[caller.identity]:
            del self._of[caller.identity]


class Portion:
    """Bytes that one request has taken."""

    def __init__(self, budget: Budget, caller: Caller) -> None:
        self._budget, self._caller = budget, caller
        self.size = 0

    def grow(self, size: int) -> None:
        """Take more bytes. Raises Overloaded when there are none."""
        if not self.try_grow(size):
            raise Overloaded("the bodies of too many requests are in memory; try again later")

    def try_grow(self, size: int) -> bool:
        """Take more bytes, if there are so many."""
        fits = self._budget.fits(self._caller, size)
        if fits:
            self.resize(self.size + size)
        return fits

    def resize(self, size: int) -> None:
        """Have so many bytes, less than before or as many as fit."""
        if size != self.size:
            self._budget.add(self._caller, size - self.size)
            self.size = size
