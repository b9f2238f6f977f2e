"""Which variant is delivered: the best for the target of those that surely keep enough of the teacher's quality."""

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
NEGLIGIBLE = 1.02
"""Latencies that differ by less than this factor are the same to whoever waits."""
DECISIVE_BATCH = {"latency": 1, "throughput": 32}
"""Batch size at which variants are compared for a target."""


@dataclass(frozen=True)
class Measured:
    """A variant with what was measured."""

    name: str
    accuracy: float
    macro_f1: float
    kept: Kept
    size_bytes: int
    timings: Timings
    parameters: int
    seconds: float
    """Time that it took to make."""

    def latency(self, batch_size: int) -> float:
        """Median milliseconds."""
        return median(self.timings[batch_size])

    def latency_p95(self, batch_size: int) -> float:
        """Milliseconds that 95 of 100 calls stay within."""
        return quantiles(self.timings[batch_size], n=20, method="inclusive")[-1]


@dataclass(frozen=True)
class Choice:
    """The chosen variant, and for each variant why it was chosen or not."""

    chosen: str
    eligible: frozenset[str]
    reasons: dict[str, str]


def choose(
    teacher: Measured, others: Sequence[Measured], floor: float, confidence: float, target: Target = "latency"
) -> Choice:
    """The best variant for the target of those that keep `floor` of the teacher's macro-F1 with `confidence`.

    The teacher in fp32 is always eligible: when nothing else is, it is delivered. For latency and throughput, of
    the variants that are as fast as the fastest within the noise of the measurement the smallest is chosen.
    """
    eligible = [teacher, *(other for other in others if other.kept.at_least >= floor)]
    if target == "size":
        best = chosen = min(eligible, key=lambda variant: (variant.size_bytes, variant.latency(1)))
    else:
        batch = DECISIVE_BATCH[target]
        best = min(eligible, key=lambda variant: variant.latency(batch))
        chosen = min((v for v in eligible if as_fast(v, best, batch)), key=lambda variant: variant.size_bytes)
    alone = len(eligible) == 1 and bool(others)
    reasons = {}
    for variant in (teacher, *others):
        if variant is chosen:
            reasons[variant.name] = _why_chosen(chosen, best, floor, confidence, target, alone)
        elif variant not in eligible:
            reasons[variant.name] = (
                f"it keeps {variant.kept.share:.1%} of the teacher's macro-F1, but with {confidence:.0%} confidence "
                f"no more than {variant.kept.at_least:.1%} is sure: below the floor of {floor:.1%}"
            )
        else:
            reasons[variant.name] = _why_not(variant, chosen, target)
    return Choice(chosen.name, frozenset(variant.name for variant in eligible), reasons)


def as_fast(variant: Measured, other: Measured, batch_size: int = 1) -> bool:
    """Whether the variant's latency at a batch size is the other's, as far as the rounds can tell.

    It is unless the 95 % confidence interval of the median ratio of their times in the same round, which follows
    from the ranks of the ratios alone, lies above `NEGLIGIBLE`.
    """
    pairs = zip(variant.timings[batch_size], other.timings[batch_size], strict=True)
    ratios = sorted(own / its for own, its in pairs)
    rank = round_down((len(ratios) - NORMAL_95 * sqrt(len(ratios))) / 2)
    return ratios[max(0, rank)] <= NEGLIGIBLE


def pareto_front(variants: Sequence[Measured]) -> set[str]:
    """Names of the variants that no other beats in macro-F1, latency (batch 1) or size without losing in another."""

    def losses(variant: Measured) -> tuple[float, float, int]:
        return -variant.macro_f1, variant.latency(1), variant.size_bytes

    def beats(one: Measured, other: Measured) -> bool:
        pairs = list(zip(losses(one), losses(other), strict=True))
        return all(own <= its for own, its in pairs) and any(own < its for own, its in pairs)

    return {variant.name for variant in variants if not any(beats(other, variant) for other in variants)}


def _why_chosen(chosen: Measured, best: Measured, floor: float, confidence: float, target: Target, alone: bool) -> str:
    if alone:
        return f"no smaller variant surely ({confidence:.0%}) keeps {floor:.1%} of its macro-F1"
    if chosen is not best:
        return f"as fast as {best.name} within noise, and smaller: {_megabytes(chosen)}"
    word = {"latency": "fastest", "throughput": "fastest at batch 32", "size": "smallest"}[target]
    reason = f"the {word} that keeps {floor:.1%} of the teacher's macro-F1 with {confidence:.0%} confidence"
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
