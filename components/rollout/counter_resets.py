"""Totals of requests that stay correct when the counters of a proxy or a pod start again from 0."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from slipway.components.rollout.target import Counts, Histogram

ABANDONED = 499
"""Status of a request whose client disconnected before the answer."""


class Ending(StrEnum):
    """How a request ended, as evidence about the revision that it came to."""

    ANSWERED = "answered"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """The client disconnected first. It is not known whether the request would have been answered."""
    REFUSED = "refused"
    """Not admitted, because of its content or its sender. This is no evidence about the revision."""


COUNTED = (Ending.ANSWERED, Ending.FAILED)
"""The endings of admitted requests, which are evidence."""


def ending_of(status: int) -> Ending:
    """The ending that an HTTP status means; 499 or 0 (no status) means that the client disconnected first."""
    if status in (0, ABANDONED):
        return Ending.ABANDONED
    if 200 <= status < 300:
        return Ending.ANSWERED
    return Ending.FAILED if status >= 500 else Ending.REFUSED


@dataclass(frozen=True)
class Tally:
    """The requests of one revision since it was deployed, across restarts of the counters."""

    kept: Counts = field(default_factory=Counts)
    """Counted before the last restart of the counters."""
    last: Counts = field(default_factory=Counts)
    """The last values of the counters."""

    @property
    def total(self) -> Counts:
        """All requests since the deployment."""
        return _sum(self.kept, self.last)

    def updated(self, seen: Counts) -> "Tally":
        """The tally after the counters had the values `seen`.

        Counters have restarted when one of them went down or when their source changed.
        """
        restarted = (
            bool(self.last.source and seen.source != self.last.source)
            or seen.requests < self.last.requests
            or seen.errors < self.last.errors
            or seen.abandoned < self.last.abandoned
            or seen.latencies.total < self.last.latencies.total
        )
        return Tally(self.total if restarted else self.kept, seen)


def since(now: Counts, before: Counts) -> Counts:
    """The difference of two totals: the requests after `before`."""
    if not before.latencies.total:
        latencies = now.latencies
    else:
        pairs = zip(now.latencies.counts, before.latencies.counts, strict=True)
        latencies = Histogram(now.latencies.bounds, tuple(after - earlier for after, earlier in pairs))
    abandoned = now.abandoned - before.abandoned
    return Counts(now.requests - before.requests, now.errors - before.errors, latencies, abandoned)


def total_of(parts: Iterable[Counts]) -> Counts:
    """The sum of several counts."""
    return functools.reduce(_sum, parts, Counts())


def _sum(first: Counts, second: Counts) -> Counts:
    latencies = _sum_of_histograms(first.latencies, second.latencies)
    abandoned = first.abandoned + second.abandoned
    return Counts(first.requests + second.requests, first.errors + second.errors, latencies, abandoned)


def _sum_of_histograms(first: Histogram, second: Histogram) -> Histogram:
    if not first.total or not second.total:
        return first if first.total else second
    if first.bounds != second.bounds:
        raise ValueError("the buckets of latencies changed during a rollout")
    pairs = zip(first.counts, second.counts, strict=True)
    return Histogram(first.bounds, tuple(a + b for a, b in pairs))
