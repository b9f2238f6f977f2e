"""Which variant is delivered: the fastest that keeps enough of the teacher's quality, and the smallest among equals."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor as round_down
from math import sqrt
from statistics import median

from components.compress.measure import Timings

NORMAL_95 = 1.96
NEGLIGIBLE = 1.02
"""Latencies that differ by less than this factor are the same to whoever waits."""


@dataclass(frozen=True)
class Measured:
    """A variant with what was measured."""

    name: str
    accuracy: float
    macro_f1: float
    size_bytes: int
    timings: Timings
    parameters: int
    seconds: float
    """Time that it took to make."""

    def latency(self, batch_size: int) -> float:
        """Median milliseconds."""
        return median(self.timings[batch_size])


@dataclass(frozen=True)
class Choice:
    """The chosen variant, and for each variant why it was chosen or not."""

    chosen: str
    eligible: frozenset[str]
    reasons: dict[str, str]


def choose(teacher: Measured, others: Sequence[Measured], floor: float) -> Choice:
    """The fastest variant (median at batch 1) with a macro-F1 of at least `floor`; the teacher is always eligible.

    Of the variants that are as fast as the fastest within the noise of the measurement the smallest is chosen.
    """
    eligible = [teacher, *(other for other in others if other.macro_f1 >= floor)]
    fastest = min(eligible, key=lambda variant: variant.latency(1))
    chosen = min((v for v in eligible if as_fast(v, fastest)), key=lambda variant: variant.size_bytes)
    reasons = {}
    for variant in (teacher, *others):
        if variant is chosen:
            reasons[variant.name] = _why_chosen(chosen, fastest, floor)
        elif variant not in eligible:
            reasons[variant.name] = f"its macro-F1 of {variant.macro_f1:.3f} is below the floor of {floor:.3f}"
        elif as_fast(variant, fastest):
            reasons[variant.name] = (
                f"as fast as {chosen.name} within noise, but larger: {_megabytes(variant)} against {_megabytes(chosen)}"
            )
        else:
            slower = variant.latency(1) / chosen.latency(1)
            reasons[variant.name] = f"good enough, but {slower:.1f} times as slow as {chosen.name} at batch 1"
    return Choice(chosen.name, frozenset(variant.name for variant in eligible), reasons)


def as_fast(variant: Measured, other: Measured) -> bool:
    """Whether the variant's latency at batch 1 is the other's, as far as the rounds can tell.

    It is unless the 95 % confidence interval of the median ratio of their times in the same round, which follows
    from the ranks of the ratios alone, lies above `NEGLIGIBLE`.
    """
    ratios = sorted(own / its for own, its in zip(variant.timings[1], other.timings[1], strict=True))
    rank = round_down((len(ratios) - NORMAL_95 * sqrt(len(ratios))) / 2)
    return ratios[max(0, rank)] <= NEGLIGIBLE


def pareto_front(variants: Sequence[Measured]) -> set[str]:
    """Names of the variants that no other beats in latency (batch 1) or macro-F1 without losing in the other."""
    return {
        variant.name
        for variant in variants
        if not any(
            other.latency(1) <= variant.latency(1)
            and other.macro_f1 >= variant.macro_f1
            and (other.latency(1), other.macro_f1) != (variant.latency(1), variant.macro_f1)
            for other in variants
        )
    }


def _why_chosen(chosen: Measured, fastest: Measured, floor: float) -> str:
    reason = f"the fastest with a macro-F1 of at least {floor:.3f}"
    if chosen is not fastest:
        reason = f"as fast as {fastest.name} within noise, and smaller: {_megabytes(chosen)}"
    return reason


def _megabytes(variant: Measured) -> str:
    return f"{variant.size_bytes / 1e6:.1f} MB"
