"""The state of a rollout, which the target saves after every look, so that another driver can take over."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.rollout.analysis.evidence import ALL, Evidence, PairCounts
from slipway.components.rollout.counter_resets import Tally, since
from slipway.components.rollout.target import Counts, Histogram, Revision

Phase = Literal["baseline", "compare", "shadow", "traffic"]
Outcome = Literal["promoted", "rolled_back", "held", "already_champion"]

FORMAT = 1
"""Version of the state as JSON; see `slipway.components.formats`."""
TIMELINE = 400
"""Most points that a timeline keeps."""


@dataclass
class Point:
    """The evidence at one look, for charts."""

    seconds: float
    """Seconds since the rollout began, without the time in which no driver ran."""
    phase: Phase
    """The phase of this look."""
    percent: int
    """The challenger's share of traffic."""
    requests: int
    """Requests to the challenger, in all."""
    champion_requests: int
    """Requests to the champion, in all."""
    texts: int
    """Labelled texts that were sent to both revisions directly."""
    metrics: dict[str, tuple[float | None, float, float]]
    """Metric to (estimate of the harm, lower bound, upper bound)."""
    verdict: str
    """The verdict of all metrics together."""
    rates: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Metric to the bad shares of (champion, challenger)."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """Metric to its own verdict."""


@dataclass
class Period:
    """A phase or a step that ended."""

    name: str
    """The phase."""
    percent: int
    """The challenger's share of traffic."""
    started_s: float
    """Seconds since the rollout began."""
    ended_s: float
    """Seconds since the rollout began."""
    requests: int = 0
    """Requests to the challenger, in this period."""
    champion_requests: int = 0
    """Requests to the champion, in this period."""


@dataclass
class Decision:
    """How the rollout ends and why. A driver that finds a decision carries it out and gathers no more evidence."""

    outcome: Outcome
    reason: str


@dataclass
class RolloutState:
    """A rollout that has begun and not ended."""

    revision: Revision
    """The challenger."""
    champion: Revision | None
    """The champion when the rollout began; None for the first version of a model."""
    phase: Phase = "baseline"
    step: int = 0
    """Index into the settings' percents, in the phase `traffic`."""
    elapsed_s: float = 0.0
    """Seconds since the rollout began, without the time in which no driver ran."""
    spent_s: float = 0.0
    """Seconds in the present phase or step; a driver that takes over starts at 0."""
    period_started_s: float = 0.0
    """`elapsed_s` at the start of the present phase or step."""
    at_start: tuple[int, int] = (0, 0)
    """Requests to (challenger, champion) before the present phase or step."""
    tallies: dict[str, Tally] = field(default_factory=dict)
    """Requests by version."""
    evidence: Evidence = field(default_factory=Evidence)
    margins: dict[str, float] = field(default_factory=dict)
    """Margin of each metric, for status displays; the driver itself uses its settings."""
    baseline: Histogram | None = None
    """The champion's latencies in the phase `baseline`; None before its end."""
    at_block: tuple[Counts, Counts] = field(default_factory=lambda: (Counts(), Counts()))
    """Counts of (champion, challenger) at the end of the last block of evidence."""
    begun: int = -1
    """The last step for which the evidence was prepared."""
    settled: bool = False
    """Whether the requests that were in flight when the share changed have been counted."""
    window_started_s: float = 0.0
    """`elapsed_s` at the end of the last block of slow answers."""
    paused: bool = False
    """Whether the challenger was taken out of traffic when the rollout was held in a step."""
    fresh: bool = False
    """Whether the last look found new answers of both revisions."""
    sticky: bool = False
    """Whether clients are assigned by the hash of a header."""
    copied: int = 0
    """Copies of live requests that both revisions were sent."""
    copies_seen: list[str] = field(default_factory=list)
    """Keys (`text_key`) of the clients' texts among them."""
    seen: list[str] = field(default_factory=list)
    """Keys (`text_key`) of the labelled texts that were compared."""
    position: int = 0
    """Position of the next probe to replay."""
    probes: int = 0
    """Replayed probes that the target counted."""
    timeline: list[Point] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    decision: Decision | None = None
    resumed: int = 0
    """How often a driver took over from one that was killed."""
    format: int = FORMAT

    def promoted_by_hand(self, champion: Revision | None) -> bool:
        """Whether the challenger was made champion (`slipway promote`) before the rollout had a decision."""
        return self.decision is None and self.revision == champion

    def counts(self, revision: Revision | None) -> Counts:
        """The counts of a revision so far; all 0 for None and for an unknown revision."""
        tally = self.tallies.get(revision.version) if revision else None
        return tally.total if tally else Counts()

    @property
    def requests(self) -> tuple[int, int]:
        """Requests to (challenger, champion) so far."""
        return self.counts(self.revision).requests, self.counts(self.champion).requests

    @property
    def step_requests(self) -> int:
        """The challenger's requests in the present step."""
        return self.requests[0] - self.at_start[0]

    @property
    def clients(self) -> int:
        """Requests that were not probes of this rollout."""
        return max(sum(self.requests) - self.probes, 0)

    def close_period(self, percent: int) -> None:
        """Record that the present phase or step ends, with the challenger's share in percent."""
        challenger, champion = self.requests
        in_period = challenger - self.at_start[0], champion - self.at_start[1]
        self.periods.append(Period(self.phase, percent, self.period_started_s, self.elapsed_s, *in_period))
        self.period_started_s, self.spent_s, self.at_start = self.elapsed_s, 0.0, (challenger, champion)

    @property
    def pairs(self) -> PairCounts:
        """Outcomes of the labelled texts."""
        return self.evidence.pairs

    @property
    def slow_ms(self) -> float | None:
        """Answers that take longer, in ms, are slow; None before the end of the baseline."""
        return self.evidence.slow_ms

    def begin_step(self, percent: int) -> None:
        """Prepare the evidence for a step, once. Requests that were counted before the step do not belong to it, nor do
        those that the champion answered while the rollout was held.
        """
        if self.begun == self.step and not self.paused:
            return
        if self.begun != self.step:
            self.evidence = self.evidence.at_new_step(percent, by_chance=not self.sticky)
        self.begun, self.settled, self.paused = self.step, False, False
        self.window_started_s = self.elapsed_s
        self.at_block = self.counts(self.champion), self.counts(self.revision)

    def pause(self, step: int) -> None:
        """Note that the challenger is taken out of traffic; a later driver goes on at `step`."""
        if step != self.step:
            self.step, self.begun = step, -1
        self.paused = True

    def window_ends(self, window_s: float) -> bool:
        """Whether a block of slow answers ends now, `window_s` seconds after the last one; then the next one begins."""
        ends = self.elapsed_s - self.window_started_s >= window_s
        if ends:
            self.window_started_s = self.elapsed_s
        return ends

    def take_block(self, percent: int, window_s: float = 0.0, slow_margin: float = 1.0) -> None:
        """Add the requests of both revisions since the last block to the evidence.

        The first block of a step is left out of the test of the traffic split, since it has requests that were in
        flight when the share changed.

        Args:
            percent: the challenger's share of traffic.
            window_s: the length of a block of slow answers, in seconds.
            slow_margin: how much higher than the champion's the share of slow answers may be, with all traffic.
        """
        now = self.counts(self.champion), self.counts(self.revision)
        old, new = (since(after, before) for after, before in zip(now, self.at_block, strict=True))
        ends = self.window_ends(window_s)
        self.evidence = self.evidence.with_block(old, new, ends)
        if percent == ALL and self.settled:
            self.evidence = self.evidence.with_all_traffic(new, slow_margin, ends)
        if self.settled and not self.sticky and percent < ALL:
            self.evidence = self.evidence.with_split(old.requests, new.requests)
        self.fresh = new.requests > 0 and (old.requests > 0 or percent == ALL)
        self.settled, self.at_block = True, now

    def note(self, point: Point) -> None:
        """Add a point to the timeline. A full timeline loses every second earlier point; charts need no more."""
        self.timeline.append(point)
        if len(self.timeline) > TIMELINE:
            self.timeline = [*self.timeline[:-1:2], point]


_ADAPTER = TypeAdapter(RolloutState)


def to_json(state: RolloutState) -> dict[str, Any]:
    """The state as plain JSON."""
    document: dict[str, Any] = _ADAPTER.dump_python(state, mode="json")
    return document


def from_json(document: dict[str, Any]) -> RolloutState:
    """Read a state from plain JSON.

    Raises:
        BadInput: it is no state of a rollout, or a later Slipway wrote it.
    """
    formats.check("the kept state of a rollout", document, FORMAT)
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"the kept state of a rollout cannot be read ({first}); `slipway rollback` ends that rollout"
        ) from error
