"""How much one identity may ask: texts at the same time, and texts a second.

A request is admitted, before anything of its body is read, as one of a single text. Once it is decoded the rest is
charged. What it takes of the rate beyond the bucket is a debt, which the next requests wait for: so one of 256 texts
passes where 10 a second are allowed, and is followed by a pause of 25 seconds.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slipway.serving.access.caller import Caller
from slipway.serving.errors import OverQuota
from slipway.serving.limits import Limits

PRUNE_ABOVE = 10_000
"""Identities; subjects of tokens may be any number."""
Identity = tuple[str, str]


class Held:
    """What one request has taken."""

    def __init__(self, quotas: "Quotas", caller: Caller) -> None:
        self._quotas, self._caller = quotas, caller
        self.texts = 1

    def charge(self, texts: int, inferences: int) -> None:
        """Take more; see `slipway.serving.access.caller.charge`."""
        self._quotas.add(self._caller, max(0, texts - self.texts), others_than=self.texts)
        self.texts = max(texts, self.texts)
        self._quotas.owe(self._caller, inferences)


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
    def held(self, caller: Caller) -> Iterator[Held]:
        """Count a request while it is at hand.

        Raises:
            OverQuota: it is one too many.
        """
        identity = caller.identity
        self.add(caller, 1)
        held = Held(self, caller)
        try:
            self._take(identity, caller.name)
            yield held
        finally:
            self._at_hand[identity] -= held.texts
            if not self._at_hand[identity]:
                del self._at_hand[identity]

    def add(self, caller: Caller, texts: int, others_than: int = 0) -> None:
        """Count texts that are at hand. Raises OverQuota when there are others and together they are too many."""
        at_hand = self._at_hand[caller.identity]
        if self._concurrency and at_hand > others_than and at_hand + texts > self._concurrency:
            raise OverQuota(f"{at_hand} texts of '{caller.name}' are at hand; {self._concurrency} may be")
        self._at_hand[caller.identity] = at_hand + texts

    def owe(self, caller: Caller, inferences: int) -> None:
        """Take tokens of the bucket, also such as it does not have."""
        if self._interval:
            full_at = max(self._now(), self._full_at.get(caller.identity, 0.0))
            self._full_at[caller.identity] = full_at + inferences * self._interval

    def _take(self, identity: Identity, name: str) -> None:
        """Take a token of the bucket."""
        if not self._interval:
            return
        now = self._now()
        full_at = max(now, self._full_at.get(identity, 0.0))
        wait = full_at - now - (self._burst - 1) * self._interval
        if wait > 1e-9:
            raise OverQuota(f"'{name}' may send {1 / self._interval:g} texts a second", wait)
        self._full_at[identity] = full_at + self._interval
        if len(self._full_at) > PRUNE_ABOVE:
            self._full_at = {known: when for known, when in self._full_at.items() if when > now}
