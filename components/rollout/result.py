"""What the step `rollout` returns: all that the report and a person need."""

from typing import ClassVar, Literal

from pydantic import JsonValue

from slipway.components.rollout.analysis.evidence import PairCounts
from slipway.components.rollout.analysis.readings import Arm
from slipway.components.rollout.state import Outcome, Period, Point
from slipway.components.step_runtime.step_result import ResultPart, StepResult


class RequestCounts(ResultPart):
    """Requests that were counted, from the first look of the rollout to its last."""

    challenger: int = 0
    """Admitted requests to the challenger."""
    champion: int = 0
    """Admitted requests to the champion."""
    clients: int = 0
    """Requests to both that came from clients."""
    probes: int = 0
    """Labelled texts that the rollout sent through the public endpoint itself."""
    challenger_errors: int = 0
    """Requests that the challenger failed."""
    champion_errors: int = 0
    """Requests that the champion failed."""
    challenger_abandoned: int = 0
    """Requests to the challenger whose clients went before they were answered."""
    champion_abandoned: int = 0
    """Requests to the champion whose clients went before they were answered."""
    copied: int = 0
    """Copies of live requests that both versions answered, and nobody got."""
    sticky: bool | str = False
    """Whether clients stay with a version, by the hash of a header."""


class MetricResult(ResultPart):
    """A metric as it stood at the end. Harm is the challenger's bad share less the champion's, from -1 to 1."""

    champion: Arm | None
    """The champion's side."""
    challenger: Arm | None
    """The challenger's side."""
    harm: float | None
    """The best estimate of the harm; null while data is missing."""
    lower: float
    """Lower bound of the harm, which holds at every moment at once."""
    upper: float
    """Upper bound of the harm, which holds at every moment at once."""
    margin: float
    """Harm that is too much."""
    verdict: Literal["go on", "hold", "roll back"]
    """What the metric alone says."""
    words: str
    """The same as a sentence."""


class LatencyPercentiles(ResultPart):
    """95th percentile of each version's latency, in milliseconds; null where it is not known."""

    champion: float | None = None
    """Of the champion, in ms."""
    challenger: float | None = None
    """Of the challenger, in ms."""


class Endpoint(ResultPart):
    """Where clients reach the model; empty where nothing is served."""

    rest: str = ""
    """Address for REST, with its scheme."""
    grpc: str = ""
    """Host and port for gRPC; on this machine only."""
    host: str = ""
    """The header `Host` that requests need; in a cluster only."""


class RolloutEnd(StepResult):
    """The part of the result that says how the run ended, for those who need no more."""

    step: ClassVar[str] = "rollout"

    outcome: Outcome
    """How it ended."""
    reason: str
    """Why, as a sentence without its full stop."""


class RolloutResult(RolloutEnd):
    """How a rollout ended, and its evidence. Of a version that served already, versions and digest alone are given."""

    version: str
    """The version that was rolled out."""
    digest: str = ""
    """`sha256:…` of its bundle."""
    champion: str | None = None
    """The version that served before; null for a first one."""
    serving: str | None = None
    """The version that serves now; null when none does."""
    seconds: float = 0.0
    """Time that it took, in seconds, without that in which no driver lived."""
    resumed: int = 0
    """How often a driver took over from one that was killed."""
    requests: RequestCounts = RequestCounts()
    """What was counted."""
    compared: PairCounts = PairCounts()
    """Outcomes of the texts that both versions were asked directly."""
    baseline_p95_ms: float | None = None
    """The champion's 95th percentile of latency before traffic moved, in ms."""
    slow_ms: float | None = None
    """Answers that took longer are slow, in ms."""
    p95_ms: LatencyPercentiles = LatencyPercentiles()
    """95th percentile of latency over the whole rollout, in ms."""
    periods: list[Period] = []
    """Its phases and steps, in order."""
    timeline: list[Point] = []
    """The evidence at each look, in order."""
    metrics: dict[str, MetricResult] = {}
    """Metric to how it stood at the end; none for a first version."""
    settings: dict[str, JsonValue] = {}
    """The settings of the rollout."""
    endpoint: Endpoint = Endpoint()
    """Where clients reach the model."""
