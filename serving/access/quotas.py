"""The quota of each identity: texts at the same time, and texts a second.

A request is admitted before its body is read, and counts as one text. Once it is decoded, its other texts are charged.
They may take more than the token bucket has, which leaves a debt: with a rate of 10 a second, a request of 256 texts
is answered, and the next requests of its caller are refused for 25 seconds.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from slipway.serving.access.caller import Caller
from slipway.serving.errors import OverQuota
from slipway.serving.limits import Limits

PRUNE_ABOVE = 10_000
"""Number of identities from which on full buckets are forgotten. Tokens may have any number of subjects."""
Identity = tuple[str, str]


class QuotaAccount:
    """What one request has taken from the quota of its caller; implements `slipway.serving.access.caller.Account`."""

    def __init__(self, quotas: "Quotas", caller: Caller) -> None:
        self._quotas, self._caller = quotas, caller
        self.texts = 1

    def charge(self, texts: int, inferences: int) -> None:
        """Take more; see `slipway.serving.access.caller.charge`."""
        self._quotas.add(self._caller, max(0, texts - self.texts), others_than=self.texts)
        self.texts = max(texts, self.texts)
        self._quotas.owe(self._caller, inferences)


class Quotas:
    """The quotas of all identities. It is used on the event loop alone, so it needs no lock.

    The rate is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371): for each identity it keeps
    only the time at which the bucket would be full again.

    Args:
        limits: `concurrency`, `rate` and `burst` are used.
        now: a monotonic clock, seconds.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self._concurrency = limits.concurrency
        self._interval = 1 / limits.rate if limits.rate else 0.0
        self._burst = limits.burst or max(1, round(limits.rate))
        self._now = now
        self._at_hand: Counter[Identity] = Counter()
        self._full_at: dict[Identity, float] = {}

    @contextmanager
    def held(self, caller: Caller) -> Iterator[QuotaAccount]:
        """Count a request until the context ends.

        Raises:
            OverQuota: the caller has too many texts at hand, or sends too many a second.
        """
        identity = caller.identity
        self.add(caller, 1)
        held = QuotaAccount(self, caller)
        try:
            self._take(identity, caller.name)
            yield held
        finally:
            self._at_hand[identity] -= held.texts
            if not self._at_hand[identity]:
                del self._at_hand[identity]

    def add(self, caller: Caller, texts: int, others_than: int = 0) -> None:
        """Count `texts` more texts as at hand.

        Args:
            caller: whose texts they are.
            texts: how many.
            others_than: how many of those at hand are of the same request. A request whose caller has no other one at
                hand is never refused here.

        Raises:
            OverQuota: the caller would have too many texts at hand.
        """
        at_hand = self._at_hand[caller.identity]
        if self._concurrency and at_hand > others_than and at_hand + texts > self._concurrency:
            raise OverQuota(f"{at_hand} texts of '{caller.name}' are at hand; {self._concurrency} may be")
        self._at_hand[caller.identity] = at_hand + texts

    def owe(self, caller: Caller, inferences: int) -> None:
        """Take tokens from the bucket, even if it has too few."""
        if self._interval:
            full_at = max(self._now(), self._full_at.get(caller.identity, 0.0))
            self._full_at[caller.identity] = full_at + inferences * self._interval

    def _take(self, identity: Identity, name: str) -> None:
        """Take one token from the bucket. Raises OverQuota if it has none."""
        if not self._interval:
            return
        now = self._now()
        full_at = max(now, self._full_at.get(identity, 0.0))
        wait = full_at - now - (self._burst - 1) * self._interval
        if wait > 1e-9:
            raise OverQuota(f"'{name}' may send {1 / self._interval:g} texts a second", wait)
        self._full_at[identity] = full_at + self._interval
        if len(self._full_at) > PRUNE_ABOVE:
            self._full_at = {known: full_at for known, full_at in self._full_at.items() if full_at > now}
