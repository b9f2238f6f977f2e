"""The choice among measured variants."""

import random

import pytest

from slipway.components.compress.choose import Measured, Target, as_fast, choose, pareto_front
from slipway.components.compress.quality import ALL, Kept


def measured(
    name: str,
    macro_f1: float,
    milliseconds: float,
    megabytes: float,
    noise: float = 0.02,
    surely: float | None = None,
) -> Measured:
    chance = random.Random(name)
    rounds = [milliseconds * chance.uniform(1 - noise, 1 + noise) for _ in range(30)]
    timings = {1: rounds, 8: rounds, 32: rounds}
    kept = Kept(macro_f1 / 0.9, macro_f1 / 0.9 if surely is None else surely)
    return Measured(name, macro_f1, macro_f1, kept, int(megabytes * 1e6), timings, 1_000_000, 1.0)


TEACHER = measured("teacher", 0.90, 6.0, 90)


def test_the_fastest_that_keeps_the_quality_is_chosen() -> None:
    fast, slow = measured("fast", 0.89, 1.0, 20), measured("slow", 0.895, 3.0, 10)
    choice = choose(TEACHER, [slow, fast], floor=0.87 / 0.9, confidence=0.95)
    assert choice.chosen == "fast"
    assert "3.0 times as slow as fast" in choice.reasons["slow"]


def test_a_variant_below_the_floor_is_not_chosen_however_fast() -> None:
    poor = measured("poor", 0.8699, 0.1, 1)
    choice = choose(TEACHER, [poor], floor=0.87 / 0.9, confidence=0.95)
    assert choice.chosen == "teacher"
    assert choice.eligible == {"teacher"}
    assert "below the floor" in choice.reasons["poor"]


def test_a_variant_that_is_only_probably_good_enough_is_not_chosen() -> None:
    lucky = measured("lucky", 0.90, 0.1, 1, surely=0.969)
    choice = choose(TEACHER, [lucky], floor=0.97, confidence=0.95)
    assert choice.chosen == "teacher"
    assert "with 95% confidence no more than 96.9% is sure" in choice.reasons["lucky"]
    assert "no smaller variant surely (95%) keeps 97.0%" in choice.reasons["teacher"]


def test_the_teacher_alone_is_chosen() -> None:
    assert choose(TEACHER, [], floor=1.0, confidence=0.95).chosen == "teacher"


@pytest.mark.parametrize(("target", "chosen"), [("latency", "quick"), ("throughput", "steady"), ("size", "tiny")])
def test_the_target_decides_among_those_that_are_good_enough(target: Target, chosen: str) -> None:
    times = {"quick": (1.0, 40.0, 9), "steady": (2.0, 20.0, 8), "tiny": (3.0, 50.0, 1)}
    variants = [
        Measured(name, 0.9, 0.9, ALL, size, {1: [first] * 9, 8: [first] * 9, 32: [batch] * 9}, 1, 1.0)
        for name, (first, batch, size) in times.items()
    ]
    teacher = Measured("teacher", 0.9, 0.9, ALL, 99, {1: [9.0] * 9, 8: [9.0] * 9, 32: [90.0] * 9}, 1, 1.0)
    assert choose(teacher, variants, floor=0.97, confidence=0.95, target=target).chosen == chosen


def test_the_95th_percentile_is_near_the_slowest_calls() -> None:
    variant = Measured("one", 0.9, 0.9, ALL, 1, {1: [1.0] * 18 + [5.0, 5.0]}, 1, 1.0)
    assert (variant.latency(1), variant.latency_p95(1)) == (1.0, 5.0)


def test_among_equally_fast_variants_the_smallest_is_chosen() -> None:
    large, small = measured("large", 0.89, 1.00, 70), measured("small", 0.88, 1.01, 20)
    choice = choose(TEACHER, [large, small], floor=0.87 / 0.9, confidence=0.95)
    assert choice.chosen == "small"
    assert "as fast as small within noise, but larger: 70.0 MB against 20.0 MB" in choice.reasons["large"]


def test_the_reasons_cover_every_variant() -> None:
    others = [measured("a", 0.5, 1.0, 1), measured("b", 0.89, 2.0, 1), measured("c", 0.89, 4.0, 1)]
    choice = choose(TEACHER, others, floor=0.87 / 0.9, confidence=0.95)
    assert choice.reasons.keys() == {"teacher", "a", "b", "c"}


@pytest.mark.parametrize(("factor", "same"), [(1.0, True), (1.01, True), (1.3, False), (0.5, True)])
def test_a_difference_counts_only_beyond_the_noise(factor: float, same: bool) -> None:
    assert as_fast(measured("one", 0.9, factor, 1, noise=0.1), measured("other", 0.9, 1.0, 1, noise=0.1)) is same


def test_noise_that_hits_both_in_the_same_round_does_not_hide_a_difference() -> None:
    chance = random.Random(1)
    load = [chance.choice([1.0, 5.0]) for _ in range(30)]
    quick, slow = (
        Measured(name, 0.9, 0.9, ALL, 1, {1: [base * now for now in load]}, 1, 1.0)
        for name, base in (("quick", 1.0), ("slow", 1.2))
    )
    assert not as_fast(slow, quick)


def test_the_front_has_only_variants_that_none_beats() -> None:
    fast, good = measured("fast", 0.85, 1.0, 1), measured("good", 0.92, 3.0, 1)
    beaten, small = measured("beaten", 0.84, 2.0, 1), measured("small", 0.80, 4.0, 0.5)
    assert pareto_front([TEACHER, fast, good, beaten, small]) == {"fast", "good", "small"}
