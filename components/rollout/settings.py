"""Settings of the step `rollout`: how traffic moves, which harm is too much, and what happens without a verdict."""

from typing import Literal

from pydantic import field_validator

from slipway.components.rollout.analysis.evidence import ALL
from slipway.components.rollout.analysis.verdict import Rules
from slipway.components.settings import Settings, setting

BAKE_S = {"local": 30.0, "kubernetes": 300.0}
"""Least time of a step, in seconds, by target: harm that comes with load or time needs minutes to show."""
LONGEST_BAKE_S = 86400.0
SPELL_S = 10.0
"""How long a busy spell of one process may last, in seconds: garbage collection, another process, a cold cache."""

BLOCKS = 3
"""Blocks of slow answers in the least time of a step, at least."""


class RolloutSettings(Settings):
    """The `rollout` section. Margins are shares: 0.05 is five of a hundred requests."""

    steps: str = setting(
        "10,25,50",
        "the challenger's shares of traffic, one after the other; then it is promoted. Below 100 both answer at the "
        "same time to the end, so that a slow moment of the machine is no evidence against either",
        "percent",
    )
    bake_s: float | Literal["auto"] = setting(
        "auto",
        "the least time of each step, and of the watch after them, in which the challenger has all traffic and the "
        "champion still runs; auto is 300 on a cluster and 30 on this machine, 0 leaves the watch out",
        "s",
    )
    max_error_rise: float = setting(
        0.01, "how much higher the challenger's share of failed requests may be", "share", gt=0, lt=1
    )
    max_slow_rise: float = setting(
        0.05, "how much higher the challenger's share of slow answers may be", "share", gt=0, lt=1
    )
    slow_factor: float = setting(
        1.5, "an answer is slow above the champion's 95th percentile times this", "ratio", ge=1
    )
    slow_floor_ms: float = setting(0.0, "answers up to this are never slow, however fast the champion is", "ms", ge=0)
    max_disagreement: float = setting(
        1.0,
        "the share of clients' texts on which the challenger may answer other than the champion; 1 leaves it as "
        "information, since a better model disagrees too",
        "share",
        gt=0,
        le=1,
    )
    max_accuracy_drop: float = setting(
        0.03, "how much lower the challenger's accuracy on labelled probes may be", "share", gt=0, lt=1
    )
    alpha: float = setting(
        0.05, "the probability of rolling back a version that is no worse, in one rollout", "", gt=0, lt=0.5
    )
    beta: float = setting(
        0.05, "the probability of promoting a version that is worse than a margin, in one rollout", "", gt=0, lt=0.5
    )
    shadow_requests: int = setting(
        60,
        "copies of live requests that both versions answer before any client is exposed (nobody gets these answers); 0 "
        "leaves this phase out",
        "requests",
        ge=0,
    )
    shadow_percent: int = setting(
        25, "part of the live requests that is copied; each copy is put to both versions", "percent", ge=1, le=100
    )
    sticky_header: str = setting(
        "",
        "a request header that names the client: its hash decides on the version, so that a client meets one and the "
        "same until the next step; empty decides by chance for each request. Only the local target does this",
    )
    sticky_requests: int = setting(
        100,
        "requests that one client sends in a step, about, with a sticky header. They resemble each other, so that the "
        "more they are, the more requests a verdict takes",
        "requests",
        ge=1,
    )
    minimum_requests: int = setting(50, "requests to the challenger that every step waits for", "requests", ge=1)
    baseline_requests: int = setting(
        100, "answers of the champion that define what is slow, before traffic moves", "requests", ge=20
    )
    step_time_limit_s: float = setting(120.0, "how long a step may gather evidence beyond `bake_s`", "s", gt=0)
    on_inconclusive: Literal["hold", "roll_back"] = setting(
        "hold",
        "what to do when a step ends without a verdict; hold gives the champion all traffic, and another run "
        "goes on where it was",
    )
    probe_batch: int = setting(40, "probes sent between two looks at the evidence", "texts", ge=1)
    poll_s: float = setting(0.5, "the pause between two looks when clients send enough traffic", "s", gt=0)
    ready_timeout_s: float = setting(60.0, "how long a revision may take to become ready", "s", gt=0)
    auth: bool = setting(
        True,
        "whether the model asks for an API key (local target); `slipway predict` has one of its own, `slipway keys "
        "add` makes more. Off answers everybody who reaches the ports, and logs a warning",
    )
    http_port: int = setting(8080, "the public endpoint's HTTP port (local target)", "", ge=1, le=65535)
    grpc_port: int = setting(8081, "the public endpoint's gRPC port (local target)", "", ge=1, le=65535)

    @field_validator("bake_s")
    @classmethod
    def _not_negative(cls, bake_s: float | str) -> float | str:
        if isinstance(bake_s, float) and not 0 <= bake_s <= LONGEST_BAKE_S:
            raise ValueError(f"bake_s is {bake_s:g}; expected auto, or seconds from 0 to {LONGEST_BAKE_S:g}")
        return bake_s

    @field_validator("steps")
    @classmethod
    def _ascending(cls, steps: str) -> str:
        try:
            percents = [int(part) for part in steps.split(",")]
        except ValueError:
            percents = []
        if not percents or percents != sorted(set(percents)) or not 1 <= percents[0] <= percents[-1] <= 100:
            raise ValueError(f"steps is {steps!r}; expected ascending whole percents from 1 to 100, as in '10,50,100'")
        return steps

    @property
    def percents(self) -> list[int]:
        """`steps` as numbers, ascending."""
        return [int(part) for part in self.steps.split(",")]

    @property
    def shares(self) -> list[int]:
        """The challenger's share of traffic in each step and, where time is given to it, in the watch after them."""
        percents = self.percents
        return [*percents, ALL] if self.least_time_s and percents[-1] < ALL else percents

    @property
    def deciding(self) -> int:
        """Index into `shares` of the step whose evidence promotes: the last one in which both revisions answer."""
        return max((index for index, percent in enumerate(self.shares) if percent < ALL), default=0)

    @property
    def least_time_s(self) -> float:
        """`bake_s` as a number."""
        return BAKE_S["local"] if isinstance(self.bake_s, str) else self.bake_s

    @property
    def window_s(self) -> float:
        """The length of a block of slow answers, in seconds: it holds a busy spell where steps are long enough."""
        return min(SPELL_S, self.least_time_s / BLOCKS)

    def on(self, target: Literal["local", "kubernetes"]) -> "RolloutSettings":
        """These settings, with what depends on where the model is served."""
        return self.model_copy(update={"bake_s": BAKE_S[target]}) if self.bake_s == "auto" else self

    def rules(self) -> Rules:
        """The part of these settings that the analysis needs."""
        margins = (self.max_error_rise, self.max_slow_rise, self.max_disagreement, self.max_accuracy_drop)
        return Rules(*margins, self.alpha, self.beta, self.shadow_requests)
