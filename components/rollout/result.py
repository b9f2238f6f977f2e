"""The result of the step `rollout`, for the report and for people."""

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
    """Requests to the challenger whose clients disconnected before the answer."""
    champion_abandoned: int = 0
    """Requests to the champion whose clients disconnected before the answer."""
    copied: int = 0
    """Copies of live requests that both versions answered; no client got these answers."""
    sticky: bool | str = False
    """Whether clients stay with a version, by the hash of a header."""


class MetricResult(ResultPart):
    """A metric at the end of the rollout. Harm is the challenger's bad share less the champion's, from -1 to 1."""

    champion: Arm | None
    """The champion's side."""
    challenger: Arm | None
    """The challenger's side."""
    harm: float | None
    """The best estimate of the harm; null while data is missing."""
    lower: float
    """Lower bound of the harm, which holds at every look at once."""
    upper: float
    """Upper bound of the harm, which holds at every look at once."""
    margin: float
    """Harm from which a promotion would be wrong."""
    verdict: Literal["go on", "hold", "roll back"]
    """Verdict of this metric alone."""
    words: str
    """The verdict and its numbers as a sentence."""


class LatencyPercentiles(ResultPart):
    """95th percentile of each version's latency, in milliseconds; null where it is not known."""

    champion: float | None = None
    """Of the champion, in ms."""
    challenger: float | None = None
    """Of the challenger, in ms."""


class Endpoint(ResultPart):
    """Where clients reach the model; empty where nothing is served."""

    rest: str = ""
    """Address for REST, with the scheme."""
    grpc: str = ""
    """Host and port for gRPC; on this machine only."""
    host: str = ""
    """Value of the header `Host` that requests need; in a cluster only."""


class RolloutEnd(StepResult):
    """How the rollout ended: the part of the result that other steps read."""

    step: ClassVar[str] = "rollout"

    outcome: Outcome
    """How it ended."""
    reason: str
    """Why, as a sentence without its full stop."""


class RolloutResult(RolloutEnd):
    """How a rollout ended, with its evidence. A version that was champion already has only versions and digest."""

    version: str
    """The version that was rolled out."""
    digest: str = ""
    """`sha256:…` of its bundle."""
    champion: str | None = None
    """The version that served before; null for a first one."""
    serving: str | None = None
    """The version that serves now; null when none does."""
    seconds: float = 0.0
    """Duration in seconds, without the time in which no driver ran."""
    resumed: int = 0
    """How often a driver took over from one that was killed."""
    requests: RequestCounts = RequestCounts()
    """Requests that were counted."""
    compared: PairCounts = PairCounts()
    """Outcomes of the labelled texts that were sent to both versions directly."""
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
    """The metrics at the end, by name; none for a first version."""
    settings: dict[str, JsonValue] = {}
    """The settings of the rollout."""
    endpoint: Endpoint = Endpoint()
    """Where clients reach the model."""
