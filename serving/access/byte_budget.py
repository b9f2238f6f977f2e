"""One budget of bytes for the bodies of all requests that the process has not answered yet.

A request takes its bytes before its body is read. So callers that each stay within their own quota cannot fill the
memory together.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.serving.access.caller import Caller
from slipway.serving.errors import Overloaded

Identity = tuple[str, str]
SHARE = 2
"""One identity may use 1 / SHARE of the budget, so that it cannot keep others out."""


class Budget:
    """Counts the bytes of the requests at hand. It is used on the event loop alone, so it needs no lock.

    Args:
        limit: most bytes of all requests together.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._of: Counter[Identity] = Counter()

    @contextmanager
    def portion(self, caller: Caller) -> Iterator["Portion"]:
        """An empty portion for one request of the caller; its bytes are given back when the context ends."""
        portion = Portion(self, caller)
        try:
            yield portion
        finally:
            portion.resize(0)

    def has_room(self, size: int) -> bool:
        """Whether the whole budget has room for `size` more bytes."""
        return self._used + size <= self._limit

    def fits(self, caller: Caller, size: int) -> bool:
        """Whether the whole budget and the caller's share of it have room for `size` more bytes."""
        return self.has_room(size) and self._of[caller.identity] + size <= self._limit // SHARE

    def add(self, caller: Caller, size: int) -> None:
        """Add `size` bytes to the caller's; a negative `size` gives bytes back."""
        self._used += size
        self._of[caller.identity] += size
        if not self._of[caller.identity]:
            del self._of[caller.identity]


class Portion:
    """The bytes that one request has taken from the budget."""

    def __init__(self, budget: Budget, caller: Caller) -> None:
        self._budget, self._caller = budget, caller
        self.size = 0

    def grow(self, size: int) -> None:
        """Take `size` more bytes. Raises Overloaded if they do not fit."""
        if not self.try_grow(size):
            raise Overloaded("the bodies of too many requests are in memory; try again later")

    def try_grow(self, size: int) -> bool:
        """Take `size` more bytes if they fit; returns whether they did."""
        fits = self._budget.fits(self._caller, size)
        if fits:
            self.resize(self.size + size)
        return fits

    def resize(self, size: int) -> None:
        """Set the portion to `size` bytes, without a check: give bytes back, or call `Budget.fits` before."""
        if size != self.size:
            self._budget.add(self._caller, size - self.size)
            self.size = size
