"""Counts that go on where they were when the proxy that counts starts again from 0."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from slipway.components.rollout.target import Counts, Histogram

ABANDONED = 499


class Ending(StrEnum):
    """How a request ended, as evidence about the revision that it came to."""

    ANSWERED = "answered"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """The client went; whether it would have been answered is not known."""
    REFUSED = "refused"
    """Not admitted, for what it is or who sent it: no evidence."""


COUNTED = (Ending.ANSWERED, Ending.FAILED)
"""What becomes of an admitted request."""


def ending_of(status: int) -> Ending:
    """Of an HTTP status; 499, or 0 for none at all, says that the client went before there was one."""
    if status in (0, ABANDONED):
        return Ending.ABANDONED
    if 200 <= status < 300:
        return Ending.ANSWERED
    return Ending.FAILED if status >= 500 else Ending.REFUSED


@dataclass(frozen=True)
class Tally:
    """What one revision did since it was deployed, whatever happened to the counters."""

    kept: Counts = field(default_factory=Counts)
    """From before the last time that the counters started again."""
    last: Counts = field(default_factory=Counts)
    """What the counters said last."""

    @property
    def total(self) -> Counts:
        """All of it."""
        return _sum(self.kept, self.last)

    def updated(self, seen: Counts) -> "Tally":
        """The tally after the counters said `seen`; counters that went down, or are others, started again."""
        began_again = (
            bool(self.last.source and seen.source != self.last.source)
            or seen.requests < self.last.requests
            or seen.errors < self.last.errors
            or seen.abandoned < self.last.abandoned
            or seen.latencies.total < self.last.latencies.total
        )
        return Tally(self.total if began_again else self.kept, seen)


def since(now: Counts, before: Counts) -> Counts:
    """What came after `before`, for totals that only grow."""
    if not before.latencies.total:
        latencies = now.latencies
    else:
        pairs = zip(now.latencies.counts, before.latencies.counts, strict=True)
        latencies = Histogram(now.latencies.bounds, tuple(after - earlier for after, earlier in pairs))
    abandoned = now.abandoned - before.abandoned
    return Counts(now.requests - before.requests, now.errors - before.errors, latencies, abandoned)


def total_of(parts: Iterable[Counts]) -> Counts:
    """All of several counts together."""
    return functools.reduce(_sum, parts, Counts())


def _sum(first: Counts, second: Counts) -> Counts:
    latencies = _together(first.latencies, second.latencies)
    abandoned = first.abandoned + second.abandoned
    return Counts(first.requests + second.requests, first.errors + second.errors, latencies, abandoned)


def _together(first: Histogram, second: Histogram) -> Histogram:
    if not first.total or not second.total:
        return first if first.total else second
    if first.bounds != second.bounds:
        raise ValueError("the buckets of latencies changed during a rollout")
    pairs = zip(first.counts, second.counts, strict=True)
    return Histogram(first.bounds, tuple(a + b for a, b in pairs))
