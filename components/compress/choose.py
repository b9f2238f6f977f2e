"""Choose the variant to deliver: the best one for the target among those that keep enough of the teacher's quality."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor as round_down
from math import sqrt
from statistics import median, quantiles
from typing import Literal

from slipway.components.compress.measure import Timings
from slipway.components.compress.quality import Kept

Target = Literal["latency", "throughput", "size"]
NORMAL_95 = 1.96
"""Quantile of the normal distribution for a 95 % confidence interval."""
NEGLIGIBLE = 1.02
"""Latencies whose ratio is smaller than this factor count as equal, since no user would notice."""
DECISIVE_BATCH = {"latency": 1, "throughput": 32}
"""Batch size at which variants are compared for a target."""


@dataclass(frozen=True)
class Measured:
    """A variant with its measurements."""

    name: str
    accuracy: float
    macro_f1: float
    kept: Kept
    size_bytes: int
    timings: Timings
    parameters: int
    seconds: float
    """Time that it took to make, in seconds."""

    def latency(self, batch_size: int) -> float:
        """Median latency in milliseconds."""
        return median(self.timings[batch_size])

    def latency_p95(self, batch_size: int) -> float:
        """95th percentile of latency in milliseconds."""
        return quantiles(self.timings[batch_size], n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Choice:
    """The names of the chosen variant and of the eligible ones, and for each variant why it was chosen or not."""

    chosen: str
    eligible: frozenset[str]
    reasons: dict[str, str]


def choose(
    teacher: Measured, others: Sequence[Measured], floor: float, confidence: float, target: Target = "latency"
) -> Choice:
    """Choose the best variant for the target.

    A variant is eligible if it keeps the share `floor` of the teacher's macro-F1 with the confidence. The teacher in
    fp32 is always eligible, so it is delivered when no other variant is. For latency and throughput, several variants
    may be as fast as the fastest within the noise of the measurement; then the smallest of them is chosen.

    Args:
        teacher: the model that is not compressed.
        others: all other variants.
        floor: least share of the teacher's macro-F1.
        confidence: of the lower bound of the share, for the reasons.
        target: what the variant should be best in.
    """
    eligible = [teacher, *(other for other in others if other.kept.at_least >= floor)]
    if target == "size":
        best = chosen = min(eligible, key=lambda variant: (variant.size_bytes, variant.latency(1)))
    else:
        batch = DECISIVE_BATCH[target]
        best = min(eligible, key=lambda variant: variant.latency(batch))
        chosen = min(
            (variant for variant in eligible if as_fast(variant, best, batch)), key=lambda variant: variant.size_bytes
        )
    only_teacher = len(eligible) == 1 and bool(others)
    reasons = {}
    for variant in (teacher, *others):
        if variant is chosen:
            reasons[variant.name] = _why_chosen(chosen, best, floor, confidence, target, only_teacher)
        elif variant not in eligible:
            reasons[variant.name] = (
                f"it keeps {variant.kept.share:.1%} of the teacher's macro-F1, but with {confidence:.0%} confidence "
                f"no more than {variant.kept.at_least:.1%} is sure: below the floor of {floor:.1%}"
            )
        else:
            reasons[variant.name] = _why_not(variant, chosen, target)
    return Choice(chosen.name, frozenset(variant.name for variant in eligible), reasons)


def as_fast(variant: Measured, other: Measured, batch_size: int = 1) -> bool:
    """Whether a variant is as fast as another one, as far as the measurement shows.

    It is slower only if the 95 % confidence interval of the median ratio of their times in the same round is above
    `NEGLIGIBLE`. The interval follows from the ranks of the ratios, so it assumes no distribution of the times.
    """
    pairs = zip(variant.timings[batch_size], other.timings[batch_size], strict=True)
    ratios = sorted(this_time / other_time for this_time, other_time in pairs)
    rank = round_down((len(ratios) - NORMAL_95 * sqrt(len(ratios))) / 2)
    return ratios[max(0, rank)] <= NEGLIGIBLE


def pareto_front(variants: Sequence[Measured]) -> set[str]:
    """Names of the variants on the Pareto front of macro-F1, latency (batch 1) and size: no other variant is at least
    as good in all three and better in one.
    """

    def losses(variant: Measured) -> tuple[float, float, int]:
        return -variant.macro_f1, variant.latency(1), variant.size_bytes

    def beats(one: Measured, other: Measured) -> bool:
        pairs = list(zip(losses(one), losses(other), strict=True))
        return all(first_loss <= second_loss for first_loss, second_loss in pairs) and any(
            first_loss < second_loss for first_loss, second_loss in pairs
        )

    return {variant.name for variant in variants if not any(beats(other, variant) for other in variants)}


def _why_chosen(
    chosen: Measured, best: Measured, floor: float, confidence: float, target: Target, only_teacher: bool
) -> str:
    if only_teacher:
        return f"no smaller variant surely ({confidence:.0%}) keeps {floor:.1%} of its macro-F1"
    if chosen is not best:
        return f"as fast as {best.name} within noise, and smaller: {_megabytes(chosen)}"
    superlative = {"latency": "fastest", "throughput": "fastest at batch 32", "size": "smallest"}[target]
    reason = f"the {superlative} that keeps {floor:.1%} of the teacher's macro-F1 with {confidence:.0%} confidence"
    return f"{reason} (at least {chosen.kept.at_least:.1%})"


def _why_not(variant: Measured, chosen: Measured, target: Target) -> str:
    if target == "size":
        return f"good enough, but {_megabytes(variant)} against {_megabytes(chosen)}"
    batch = DECISIVE_BATCH[target]
    if as_fast(variant, chosen, batch):
        return f"as fast as {chosen.name} within noise, but larger: {_megabytes(variant)} against {_megabytes(chosen)}"
    slower = variant.latency(batch) / chosen.latency(batch)
    return f"good enough, but {slower:.1f} times as slow as {chosen.name} at batch {batch}"


def _megabytes(variant: Measured) -> str:
    return f"{variant.size_bytes / 1e6:.1f} MB"
