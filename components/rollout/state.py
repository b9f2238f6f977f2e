"""All that a driver knows of its rollout; kept by the target after every look, so that a killed driver goes on."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.rollout.analysis.evidence import Evidence, PairCounts
from slipway.components.rollout.counter_resets import Tally, since
from slipway.components.rollout.target import Counts, Histogram, Revision

Phase = Literal["baseline", "compare", "shadow", "traffic"]
Outcome = Literal["promoted", "rolled_back", "held", "already_champion"]

FORMAT = 1
"""Of the state as JSON; see `slipway.components.formats`."""
TIMELINE = 400
"""Points of the timeline at most."""


@dataclass
class Point:
    """The evidence at one look, for charts."""

    seconds: float
    """Since the rollout began; times when no driver lived are left out."""
    phase: Phase
    """The phase of this look."""
    percent: int
    """The challenger's share of traffic."""
    requests: int
    """To the challenger, in all."""
    champion_requests: int
    """To the champion, in all."""
    texts: int
    """That both were asked directly."""
    metrics: dict[str, tuple[float | None, float, float]]
    """Metric to (estimate of the harm, lower bound, upper bound)."""
    verdict: str
    """Of all metrics together."""
    rates: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Metric to the bad shares of (champion, challenger)."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """Metric to its own verdict."""


@dataclass
class Period:
    """A phase or a step that took place."""

    name: str
    """The phase."""
    percent: int
    """The challenger's share of traffic."""
    started_s: float
    """Seconds since the rollout began."""
    ended_s: float
    """Seconds since the rollout began."""
    requests: int = 0
    """To the challenger, in this period."""
    champion_requests: int = 0
    """To the champion, in this period."""


@dataclass
class Decision:
    """How the rollout ends and why; once taken it is only carried out."""

    outcome: Outcome
    reason: str


@dataclass
class RolloutState:
    """A rollout that began and did not end."""

    revision: Revision
    champion: Revision | None
    phase: Phase = "baseline"
    step: int = 0
    """Index into the settings' percents, in the phase `traffic`."""
    elapsed_s: float = 0.0
    spent_s: float = 0.0
    """In the present phase or step."""
    period_started_s: float = 0.0
    at_start: tuple[int, int] = (0, 0)
    """Requests to (challenger, champion) before the present phase or step."""
    tallies: dict[str, Tally] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    margins: dict[str, float] = field(default_factory=dict)
    """Of each metric; for whoever looks on, the driver goes by its settings."""
    baseline: Histogram | None = None
    at_block: tuple[Counts, Counts] = field(default_factory=lambda: (Counts(), Counts()))
    """Counts of (champion, challenger) when the evidence was added to last."""
    begun: int = -1
    """The last step that evidence was made ready for."""
    settled: bool = False
    """Whether the requests that were on their way when the share changed have been counted."""
    fresh: bool = False
    """Whether the last look brought answers of both."""
    sticky: bool = False
    """Whether clients are assigned by the hash of a header."""
    copied: int = 0
    """Copies of live requests that both were asked."""
    copies_seen: list[str] = field(default_factory=list)
    """Keys of the clients' texts among them."""
    seen: list[str] = field(default_factory=list)
    """Keys of the texts that were compared."""
    position: int = 0
    """Of the next probe to replay."""
    probes: int = 0
    """Replayed probes that the target counted."""
    timeline: list[Point] = field(default_factory=list)
    periods: list[Period] = field(default_factory=list)
    decision: Decision | None = None
    resumed: int = 0
    """How often a driver took over from one that was killed."""
    format: int = FORMAT

    def promoted_by_hand(self, champion: Revision | None) -> bool:
        """Whether somebody gave its revision all traffic while it had no decision."""
        return self.decision is None and self.revision == champion

    def counts(self, revision: Revision | None) -> Counts:
        """What a revision did so far."""
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
        """Requests that were no probes of this rollout."""
        return max(sum(self.requests) - self.probes, 0)

    def close_period(self, percent: int) -> None:
        """Note that the present phase or step ends, with the challenger's share in percent."""
        challenger, champion = self.requests
        served = challenger - self.at_start[0], champion - self.at_start[1]
        self.periods.append(Period(self.phase, percent, self.period_started_s, self.elapsed_s, *served))
        self.period_started_s, self.spent_s, self.at_start = self.elapsed_s, 0.0, (challenger, champion)

    @property
    def pairs(self) -> PairCounts:
        """Outcomes of the labelled texts."""
        return self.evidence.pairs

    @property
    def slow_ms(self) -> float | None:
        """Answers above this are slow."""
        return self.evidence.slow_ms

    def begin_step(self, percent: int) -> None:
        """Make the evidence ready for a step, once: what was counted before is no part of it."""
        if self.begun == self.step:
            return
        self.begun, self.settled = self.step, False
        self.evidence = self.evidence.at_new_step(percent, by_chance=not self.sticky)
        self.at_block = self.counts(self.champion), self.counts(self.revision)

    def take_block(self, percent: int) -> None:
        """Add what both did since the last time to the evidence."""
        now = self.counts(self.champion), self.counts(self.revision)
        old, new = (since(after, before) for after, before in zip(now, self.at_block, strict=True))
        self.evidence = self.evidence.with_block(old, new)
        if self.settled and not self.sticky:
            self.evidence = self.evidence.with_split(old.requests, new.requests)
        self.fresh = new.requests > 0 and (old.requests > 0 or percent == 100)
        self.settled, self.at_block = True, now

    def note(self, point: Point) -> None:
        """Add to the timeline. A long one loses every second point of its past, which is enough for charts."""
        self.timeline.append(point)
        if len(self.timeline) > TIMELINE:
            self.timeline = [*self.timeline[:-1:2], point]


_FORM = TypeAdapter(RolloutState)


def to_json(state: RolloutState) -> dict[str, Any]:
    """Plain JSON."""
    plain: dict[str, Any] = _FORM.dump_python(state, mode="json")
    return plain


def from_json(plain: dict[str, Any]) -> RolloutState:
    """The state again.

    Raises:
        BadInput: it is not one, or too new.
    """
    formats.check("the kept state of a rollout", plain, FORMAT)
    try:
        return _FORM.validate_python(plain)
    except ValidationError as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"the kept state of a rollout cannot be read ({first}); `slipway rollback` ends that rollout"
        ) from error


def summary(plain: dict[str, Any]) -> dict[str, Any]:
    """Where a rollout stands: version, phase, percent, requests, texts, copies, seconds, verdict, decision (or null).

    `evidence` has a row for each metric: metric, shares of champion and challenger, harm, lower, upper, margin,
    verdict, and course (the estimates so far).

    Raises:
        BadInput: it is not the state of one.
    """
    current = from_json(plain)
    last = current.timeline[-1] if current.timeline else None
    return {
        "version": current.revision.version,
        "phase": current.phase,
        "percent": last.percent if last else 0,
        "requests": current.requests[0],
        "texts": current.pairs.labelled,
        "copies": current.copied,
        "seconds": round(current.elapsed_s, 1),
        "verdict": last.verdict if last else None,
        "decision": current.decision.reason if current.decision else None,
        "evidence": [_row(current, last, metric) for metric in last.metrics] if last else [],
    }


def _row(current: RolloutState, last: Point, metric: str) -> dict[str, Any]:
    harm, lower, upper = last.metrics[metric]
    champion, challenger = last.rates.get(metric, (None, None))
    course = [point.metrics[metric][0] for point in current.timeline if metric in point.metrics]
    return {
        "metric": metric,
        "champion": champion,
        "challenger": challenger,
        "harm": harm,
        "lower": lower,
        "upper": upper,
        "margin": current.margins.get(metric, 1.0),
        "verdict": last.verdicts.get(metric, last.verdict),
        "course": [value for value in course if value is not None],
    }
