"""All that a driver knows of its rollout; kept by the target after every look, so that a killed driver goes on."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from components.errors import BadInput
from components.rollout.analysis.evidence import Evidence, PairCounts
from components.rollout.counting import Tally
from components.rollout.target import Counts, Histogram, Revision

Phase = Literal["baseline", "compare", "traffic"]
Outcome = Literal["promoted", "rolled_back", "held", "already_champion"]


@dataclass
class Point:
    """The evidence at one look, for charts."""

    seconds: float
    """Since the rollout began; times when no driver lived are left out."""
    phase: Phase
    percent: int
    requests: int
    """To the challenger, in all."""
    champion_requests: int
    texts: int
    """That both were asked directly."""
    metrics: dict[str, tuple[float | None, float, float]]
    """Metric to (estimate of the harm, lower bound, upper bound)."""
    verdict: str


@dataclass
class Period:
    """A phase or a step that took place."""

    name: str
    percent: int
    started_s: float
    ended_s: float
    requests: int = 0
    """To the challenger, in this period."""
    champion_requests: int = 0


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
    pairs: PairCounts = field(default_factory=PairCounts)
    baseline: Histogram | None = None
    slow_ms: float | None = None
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

    def evidence(self) -> Evidence:
        """What the analysis reads."""
        champion, challenger = self.counts(self.champion), self.counts(self.revision)
        return Evidence(champion, challenger, self.pairs, self.baseline, self.slow_ms)


_FORM = TypeAdapter(RolloutState)


def to_json(state: RolloutState) -> dict[str, Any]:
    """Plain JSON."""
    plain: dict[str, Any] = _FORM.dump_python(state, mode="json")
    return plain


def from_json(plain: dict[str, Any]) -> RolloutState:
    """The state again.

    Raises:
        BadInput: it is not one.
    """
    try:
        return _FORM.validate_python(plain)
    except ValidationError as error:
        first = str(error).splitlines()[0]
        raise BadInput(
            f"the kept state of a rollout cannot be read ({first}); `slipway rollback` ends that rollout"
        ) from error


def summary(plain: dict[str, Any]) -> dict[str, Any]:
    """Where a rollout stands: version, phase, requests, texts, seconds, verdict and decision (or null).

    Raises:
        BadInput: it is not the state of one.
    """
    current = from_json(plain)
    last = current.timeline[-1] if current.timeline else None
    return {
        "version": current.revision.version,
        "phase": current.phase,
        "requests": current.requests[0],
        "texts": current.pairs.labelled,
        "seconds": round(current.elapsed_s, 1),
        "verdict": last.verdict if last else None,
        "decision": current.decision.reason if current.decision else None,
    }
