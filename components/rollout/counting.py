"""Counts that go on where they were when the proxy that counts starts again from 0."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from components.rollout.target import Counts, Histogram


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
    return Counts(now.requests - before.requests, now.errors - before.errors, latencies)


def total_of(parts: Iterable[Counts]) -> Counts:
    """All of several counts together."""
    return functools.reduce(_sum, parts, Counts())


def _sum(first: Counts, second: Counts) -> Counts:
    latencies = _together(first.latencies, second.latencies)
    return Counts(first.requests + second.requests, first.errors + second.errors, latencies)


def _together(first: Histogram, second: Histogram) -> Histogram:
    if not first.total or not second.total:
        return first if first.total else second
    if first.bounds != second.bounds:
        raise ValueError("the buckets of latencies changed during a rollout")
    pairs = zip(first.counts, second.counts, strict=True)
    return Histogram(first.bounds, tuple(a + b for a, b in pairs))
