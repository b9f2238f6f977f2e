"""What a rollout needs of the place where a model is served: the protocol that every rollout target implements.

A target is one served model behind one public endpoint. It runs at most two revisions: the champion, which
takes all traffic that the challenger does not, and the challenger, which is the revision of an ongoing rollout.
The target moves traffic and reports what it saw; it decides nothing. The driver decides, and may be killed at
any moment and started again, so every method that changes something is idempotent: to call it again when its
work is already done (wholly or in part) completes the work and is no error.

Every method may raise `SlipwayError` (the target itself cannot be used: the proxy is gone, the cluster refuses).
Any method may raise `RevisionFailed` when the challenger's process is known to have died; the driver then rolls
back. A champion that does not answer is not `RevisionFailed`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from slipway.components.clients.latency_histogram import LATENCY_BOUNDS_MS


@dataclass(frozen=True)
class Revision:
    """One version of the model as it is served."""

    version: str
    """The registry's version, for example `"3"`; it names the revision everywhere."""
    bundle: str
    """The folder of the signed bundle."""
    digest: str
    """`sha256:…` of the bundle; two revisions are the same when version and digest are."""


@dataclass(frozen=True)
class Histogram:
    """Latencies in buckets, in milliseconds. Not cumulative across buckets.

    `counts[i]` answers took at most `bounds[i]` and more than `bounds[i - 1]`; the last count, one more than
    there are bounds, is of answers above the last bound. A target may have other bounds than
    `LATENCY_BOUNDS_MS` (Prometheus ones, say), but the same for both revisions and for the whole rollout.
    """

    bounds: tuple[float, ...] = LATENCY_BOUNDS_MS
    counts: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_MS) + 1)

    @property
    def total(self) -> int:
        """How many answers are in the histogram."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket in which the quantile lies, in ms; infinite when above all bounds.

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
        """How many answers lie in buckets wholly above `limit_ms` (rounded up to the next bound)."""
        first = next((i for i, bound in enumerate(self.bounds) if bound >= limit_ms), len(self.bounds))
        return sum(self.counts[first + 1 :])


def histogram(latencies_ms: Sequence[float], bounds: tuple[float, ...] = LATENCY_BOUNDS_MS) -> Histogram:
    """Put latencies (ms) into buckets."""
    counts = [0] * (len(bounds) + 1)
    for latency in latencies_ms:
        counts[next((i for i, bound in enumerate(bounds) if latency <= bound), len(bounds))] += 1
    return Histogram(bounds, tuple(counts))


@dataclass(frozen=True)
class Counts:
    """What one revision did with the requests that the public endpoint routed to it, cumulative.

    Requests that `compare` sends straight to a revision are not among them.
    """

    requests: int = 0
    """Admitted requests with an outcome: answered, failed or timed out. Never those still on their way, nor those that
    were refused (a 4xx status): anybody can have any number of them refused, quickly, by the worst of revisions."""
    errors: int = 0
    """Of these, answers with a 5xx status, broken connections and time-outs."""
    latencies: Histogram = field(default_factory=Histogram)
    """Of the answers with a 2xx status."""
    abandoned: int = 0
    """Requests whose clients went before they were answered: neither a success nor a failure, and not in `requests`."""
    source: str = ""
    """What counted: another value than before says that the counters started again from 0 (a pod or proxy restarted),
    even when they are higher than before. Empty when the target cannot tell."""


@dataclass(frozen=True)
class Pair:
    """The two revisions' answers to one text, asked directly (not through the public endpoint)."""

    champion: str | None
    """The label with the highest probability, or None when the revision failed to answer (or there is no champion)."""
    challenger: str | None
    champion_ms: float | None = None
    """How long the answer took; None when it failed or nobody measured."""
    challenger_ms: float | None = None
    key: str = ""
    """`slipway.components.rollout.probes.text_key` of the text; only `shadow_pairs` needs it."""


class RolloutTarget(Protocol):
    """One served model: a public endpoint, a champion and, during a rollout, a challenger."""

    def champion(self) -> Revision | None:
        """The revision that serves, or None when the model was never served."""
        ...

    def deploy(self, revision: Revision) -> None:
        """Start `revision` as the challenger with 0 % of traffic; return when it is started, ready or not.

        When it already runs as the challenger, nothing changes: share and counts stay. When it was the
        challenger and died (the machine restarted), it is started again with 0 % of traffic.

        Raises:
            RevisionFailed: it cannot be started.
        """
        ...

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        """Return when the challenger answers predictions (so that its first, slow prediction is over).

        Raises:
            RevisionFailed: it crashed, refused its bundle or was not ready in time; the message is the reason.
        """
        ...

    def set_traffic(self, percent: int) -> None:
        """Route `percent` (0 to 100) of the public endpoint's requests to the challenger, the rest to the champion.

        When the call returns, new requests are routed in this way.
        """
        ...

    def observe(self) -> dict[str, Counts]:
        """Counts by version for the champion and the challenger, cumulative since `deploy`.

        Every request that was answered before the call is in. Counts may start again from 0 when the proxy
        restarts; the driver notices that they went down and keeps what it had. A version without any
        request may be missing.
        """
        ...

    def send(self, texts: Sequence[str]) -> int:
        """Send each text once through the public endpoint as a client would; return how many `observe` now counts.

        An error answer is an observation, not an exception.
        """
        ...

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        """Ask both revisions for each text directly, past the public endpoint; pairs in the order of `texts`.

        A revision that fails on a text (5xx, broken connection, time-out) gives None for it, not an exception.
        Without a champion, `Pair.champion` is None.
        """
        ...

    def shadow(self, percent: int) -> None:
        """Copy `percent` (0 to 100) of the live predictions, so that `shadow_pairs` can put them to both revisions.

        A copy never delays or changes what a client gets, and no client gets an answer to it. 0 ends it. A driver
        that takes over calls it again. What `send` sends through the public endpoint is copied as well. A target
        that cannot copy live requests does nothing here.
        """
        ...

    def shadow_pairs(self, texts: Sequence[str]) -> list[Pair]:
        """Both revisions' answers to the requests copied since the last call, each once, with latencies and keys.

        Both are asked directly. A target that cannot copy live requests asks both for `texts` (the driver's
        replayed probes) instead; where it can, the driver sent them through the public endpoint, where they are
        copied. A revision that fails gives None, not an exception. Never waits for copies: an empty list is an answer.
        """
        ...

    def stick(self, header: str) -> bool:
        """From the next `set_traffic` on, route requests with equal values of this header to the same revision.

        A client stays with the challenger when its share grows. Empty: each request is routed by chance, as are those
        without the header. Returns whether the target does it; one that cannot (weights of Knative or of an
        HTTPRoute) returns False for a header and routes by chance.
        """
        ...

    def promote(self) -> None:
        """Make the challenger the champion with all traffic and stop the old champion; no request is dropped.

        Without a challenger (the promotion was done before), nothing happens.
        """
        ...

    def rollback(self) -> None:
        """Give all traffic back to the champion and stop the challenger, however far it came.

        Works when the challenger never started or has crashed. Without a challenger, nothing happens.
        """
        ...

    def load_state(self) -> dict[str, Any] | None:
        """What `save_state` kept last (plain JSON), or None."""
        ...

    def save_state(self, state: dict[str, Any] | None) -> None:
        """Keep the driver's state where a restarted driver finds it: atomically, old or new; None deletes it."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold the model for one driver; the lock goes when its process dies.

        Raises:
            SlipwayError: another driver holds it; the message names the holder (host, process, since when).
        """
        ...
