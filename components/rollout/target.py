"""The protocol that every rollout target implements, for the driver; and the counts and answers that a target returns.

A target is one served model behind one public endpoint. It runs at most two revisions. The challenger is the revision
that is being rolled out. The champion takes all traffic that the challenger does not take. The target moves traffic and
reports counts; it decides nothing. The driver decides.

A driver may be killed at any moment and started again. So every method that changes something is idempotent: a second
call completes work that was done in part, and is no error when the work was done already.

Every method may raise `SlipwayError` when the target itself cannot be used: the proxy is gone, or the cluster refuses.
Every method may raise `RevisionFailed` when the challenger's process is known to have died; the driver then rolls
back. A champion that does not answer is no `RevisionFailed`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway.components.clients.latency_histogram import LATENCY_BOUNDS_MS


@dataclass(frozen=True)
class Revision:
    """One version of the model as it is served."""

    version: str
    """The registry's version, for example `"3"`. It is the name of the revision everywhere."""
    bundle: str
    """The signed bundle: its folder on this machine, or its URI in an object store for a cluster."""
    digest: str
    """`sha256:…` of the bundle."""


@dataclass(frozen=True)
class Histogram:
    """Counts of latencies by bucket, in milliseconds. The counts are not cumulative.

    `counts[i]` answers took at most `bounds[i]` and more than `bounds[i - 1]`. There is one count more than there are
    bounds: the last one counts the answers above the last bound. A target may use other bounds than
    `LATENCY_BOUNDS_MS`, for example those of Prometheus. They must be the same for both revisions, and for the whole
    rollout.
    """

    bounds: tuple[float, ...] = LATENCY_BOUNDS_MS
    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_MS) + 1)

    @property
    def total(self) -> int:
        """How many answers are in the histogram."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket that holds the quantile, in ms; infinite when it is above all bounds.

        Args:
            share: the quantile, from 0 to 1.

        Raises:
            ValueError: the histogram is empty.
        """
        if not self.total:
            raise ValueError("a quantile needs at least one latency")
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= share * self.total:
                return bound
        return float("inf")

    def above(self, limit_ms: float) -> int:
        """The number of answers in buckets wholly above `limit_ms`, which is rounded up to the next bound."""
        return sum(self.counts[bisect_left(self.bounds, limit_ms) + 1 :])


def histogram(latencies_ms: Sequence[float], bounds: tuple[float, ...] = LATENCY_BOUNDS_MS) -> Histogram:
    """A histogram of latencies, which are in ms."""
    counts = [0] * (len(bounds) + 1)
    for latency in latencies_ms:
        counts[bisect_left(bounds, latency)] += 1
    return Histogram(bounds, tuple(counts))


@dataclass(frozen=True)
class Counts:
    """What one revision did with the requests that the public endpoint routed to it, cumulative.

    Requests that `compare` sends straight to a revision are not among them.
    """

    requests: int = 0
    """Admitted requests that were answered, failed or timed out. Requests in flight are not counted. Refused requests
    (status 4xx) are not counted either: any caller can send any number of them, and even a bad revision refuses them
    quickly."""
    errors: int = 0
    """Of these, answers with a 5xx status, broken connections and time-outs."""
    latencies: Histogram = field(default_factory=Histogram)
    """Of the answers with a 2xx status."""
    abandoned: int = 0
    """Requests whose clients disconnected before the answer. They are neither a success nor a failure, and are not in
    `requests`."""
    source: str = ""
    """Name of what counts. A new name means that the counters started again from 0, because a pod or proxy restarted,
    even when they are higher than before. Empty when the target does not know it."""


@dataclass(frozen=True)
class Pair:
    """The two revisions' answers to one text that was sent to each directly, not through the public endpoint."""

    champion: str | None
    """The champion's label with the highest probability; None when it failed to answer, or there is no champion."""
    challenger: str | None
    """The challenger's label; None when it failed to answer."""
    champion_ms: float | None = None
    """The champion's latency in ms; None when it failed or was not measured."""
    challenger_ms: float | None = None
    """The challenger's latency in ms; None when it failed or was not measured."""
    key: str = ""
    """`slipway.components.rollout.probes.text_key` of the text; only `shadow_pairs` needs it."""


class RolloutTarget(Protocol):
    """One served model: a public endpoint, a champion and, during a rollout, a challenger."""

    def champion(self) -> Revision | None:
        """The revision that serves, or None when no revision was ever promoted."""
        ...

    def deploy(self, revision: Revision) -> None:
        """Start `revision` as the challenger with 0 % of traffic; return when it is started, whether ready or not.

        When it already runs as the challenger, nothing changes: share and counts stay. When it was the challenger and
        its process died, for example because the machine restarted, it is started again with 0 % of traffic.

        Raises:
            RevisionFailed: it cannot be started.
        """
        ...

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        """Return when the challenger answers predictions, so that no client waits for its first, slow one.

        Raises:
            RevisionFailed: it crashed, refused its bundle or was not ready in time; the message says why.
        """
        ...

    def set_traffic(self, percent: int) -> None:
        """Route `percent` (0 to 100) of the public endpoint's requests to the challenger, the rest to the champion.

        When the call returns, new requests are routed in this way.
        """
        ...

    def observe(self) -> dict[str, Counts]:
        """Counts by version for the champion and the challenger, cumulative since `deploy`.

        The counts include every request that was answered before the call. They may start again from 0 when the proxy
        restarts; the driver notices this and keeps the earlier counts. A version without any request may be missing.
        """
        ...

    def send(self, texts: Sequence[str]) -> int:
        """Send each text once through the public endpoint, as a client would; return how many of them `observe` counts.

        An error response is evidence, not an exception.
        """
        ...

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        """Send each text to both revisions directly, past the public endpoint; return pairs in the order of `texts`.

        A revision that fails on a text (5xx, broken connection, time-out) has None in the pair; this is no exception.
        Without a champion, `Pair.champion` is None.
        """
        ...

    def shadow(self, percent: int) -> None:
        """Copy `percent` (0 to 100) of the live predictions, so that `shadow_pairs` can send them to both revisions.

        A copy never delays or changes a client's response, and no client gets the answer to a copy. 0 stops copying. A
        driver that takes over calls this again. Texts that `send` sends through the public endpoint are copied as well.
        A target that cannot copy live requests does nothing.
        """
        ...

    def shadow_pairs(self, texts: Sequence[str]) -> list[Pair]:
        """Both revisions' answers to the requests copied since the last call, each once, with latencies and keys.

        Each revision gets the copies directly, past the public endpoint. A target that copies live requests ignores
        `texts`. A target that cannot copy sends `texts`, the driver's replayed probes, to both revisions instead.
        A revision that fails has None in the pair; this is no exception. The method does not wait for copies, and
        returns an empty list when there are none.
        """
        ...

    def stick(self, header: str) -> bool:
        """From the next `set_traffic` on, route requests with equal values of this header to the same revision.

        A client of the challenger stays with it when the challenger's share grows. Requests without the header are
        routed at random, and so are all requests when `header` is empty. Returns whether the target does this. A target
        that cannot route by a header (Knative, HTTPRoute weights) returns False and routes at random.
        """
        ...

    def promote(self) -> None:
        """Make the challenger the champion with all traffic and stop the old champion; no request is dropped.

        Without a challenger nothing happens, since the promotion was done before.
        """
        ...

    def rollback(self) -> None:
        """Give all traffic back to the champion and stop the challenger.

        This works also when the challenger never started or has crashed. Without a challenger nothing happens.
        """
        ...

    def load_state(self) -> dict[str, Any] | None:
        """The state that `save_state` saved last, as plain JSON, or None."""
        ...

    def save_state(self, state: dict[str, Any] | None) -> None:
        """Save the driver's state for a driver that takes over. The write is atomic. None deletes the state."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Lock the model for one driver; the lock is released when the driver's process dies.

        Raises:
            SlipwayError: another driver holds it; the message names the holder (host, process, since when).
        """
        ...
