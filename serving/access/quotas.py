"""How much one identity may ask: requests at the same time, and requests a second."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.caller import Caller
from serving.errors import OverQuota
from serving.limits import Limits

PRUNE_ABOVE = 10_000
"""Identities; subjects of tokens may be any number."""
Identity = tuple[str, str]


class Quotas:
    """Counts of every identity; lives on the event loop, so it needs no locks.

    The rate is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371): of each identity
    only the time is kept at which its bucket would be full again.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self._concurrency = limits.concurrency
        self._interval = 1 / limits.rate if limits.rate else 0.0
        self._burst = limits.burst or max(1, round(limits.rate))
        self._now = now
        self._at_hand: Counter[Identity] = Counter()
        self._full_at: dict[Identity, float] = {}

    @contextmanager
    def held(self, caller: Caller) -> Iterator[None]:
        """Count a request while it is at hand.

        Raises:
            OverQuota: it is one too many.
        """
        identity = (caller.means, caller.name)
        if self._concurrency and self._at_hand[identity] >= self._concurrency:
            raise OverQuota(f"{self._concurrency} requests of '{caller.name}' are at hand; no more are taken")
        self._take(identity, caller.name)
        self._at_hand[identity] += 1
        try:
            yield
        finally:
            self._at_hand[identity] -= 1
            if not self._at_hand[identity]:
                del self._at_hand[identity]

    def _take(self, identity: Identity, name: str) -> None:
        """Take a token of the bucket."""
        if not self._interval:
            return
        now = self._now()
        full_at = max(now, self._full_at.get(identity, 0.0))
        wait = full_at - now - (self._burst - 1) * self._interval
        if wait > 1e-9:
            raise OverQuota(f"'{name}' may send {1 / self._interval:g} requests a second", wait)
        self._full_at[identity] = full_at + self._interval
        if len(self._full_at) > PRUNE_ABOVE:
            self._full_at = {known: when for known, when in self._full_at.items() if when > now}
