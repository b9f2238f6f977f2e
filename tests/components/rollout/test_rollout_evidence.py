"""What counts as evidence, and at which value a verdict, a guard or a counter turns."""

from dataclasses import replace

import pytest

from slipway.components.rollout.analysis.evidence import Evidence, PairCounts, slow_limit
from slipway.components.rollout.analysis.split import Split, mismatch
from slipway.components.rollout.analysis.verdict import (
    Rules,
    Stage,
    Verdict,
    analyse,
    guard_reason,
    is_no_worse,
    is_worse,
)
from slipway.components.rollout.counter_resets import Ending, Tally, ending_of, since, total_of
from slipway.components.rollout.target import Counts, Histogram, Pair, histogram
from tests.components.present import present
from tests.components.rollout.test_rollout_analysis import EARLY, LAST, RULES, counts, evidence, measured


@pytest.mark.parametrize(
    ("metric", "harm", "lower", "worse"),
    [
        ("errors", 0.051, 0.0, True),
        ("errors", 0.05, 0.0, False),
        ("errors", 0.5, -0.001, False),
        ("accuracy", 0.1, 0.01, False),
        ("accuracy", 0.101, 0.01, True),
        ("disagreement", 0.5, 0.1, False),
        ("disagreement", 0.5, 0.101, True),
        ("shadow", 0.5, 0.1, False),
        ("shadow", 0.5, 0.101, True),
    ],
)
def test_a_challenger_is_worse_from_this_value_on(metric: str, harm: float, lower: float, worse: bool) -> None:
    assert bool(is_worse(metric, harm, lower, 0.1)) is worse


def test_it_is_no_worse_up_to_the_margin() -> None:
    assert is_no_worse([0.099, 0.1, 0.101], 0.1).tolist() == [True, True, False]


def test_each_metric_has_its_own_margin() -> None:
    rules = Rules(0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
    margins = {"errors": 0.01, "slow": 0.02, "disagreement": 1.0, "accuracy": 0.04, "shadow": 0.03}
    assert rules.margins == margins
    assert {
        name: judged.margin for name, judged in analyse(evidence(counts(200)), rules, LAST).metrics.items()
    } == margins


@pytest.mark.parametrize(("requests", "verdict"), [(49, Verdict.HOLD), (50, Verdict.GO_ON)])
def test_a_step_has_seen_enough_from_its_minimum_on(requests: int, verdict: Verdict) -> None:
    found = analyse(evidence(counts(60)), RULES, Stage(False, requests, 50))
    assert found.verdict is verdict
    assert found.undecided == (("requests",) if verdict is Verdict.HOLD else ())
    assert ("49 of at least 50 requests" in found.reason) is (verdict is Verdict.HOLD)


@pytest.mark.parametrize(("copies", "verdict"), [(49, Verdict.GO_ON), (50, Verdict.HOLD)])
def test_agreement_on_copies_is_asked_for_from_its_number_on(copies: int, verdict: Verdict) -> None:
    given = replace(evidence(counts(200)), copies=PairCounts(copies, copies // 5))
    judged = analyse(given, RULES, LAST).metrics["shadow"]
    assert judged.verdict is verdict
    assert judged.words.startswith(f"disagreement on clients' requests: challenger {copies // 5} of {copies} (")
    assert judged.words.endswith(": too few for a verdict of their own") is (verdict is Verdict.GO_ON)


def test_a_split_is_distrusted_from_its_part_of_alpha_on() -> None:
    given = replace(evidence(counts(200)), splits=(Split(10, 900, 140),))
    against = mismatch(given.splits)
    assert against > 1
    for factor, held in ((1.001, True), (0.999, False)):
        alpha = 2.718281828459045**-against / 0.05 * factor
        assert alpha < 1
        found = analyse(given, replace(RULES, alpha=alpha), EARLY)
        assert ("split" in found.undecided) is held
        assert ("140 of 1040 requests of this step came to the challenger, asked for were 10%" in found.reason) is held


@pytest.mark.parametrize(("failed", "guarded"), [(19, False), (20, True)])
def test_twenty_failures_in_a_row_roll_back_at_once(failed: int, guarded: bool) -> None:
    found = evidence(counts(0)).with_block(counts(30), counts(failed, errors=failed))
    assert bool(guard_reason(found)) is guarded
    if guarded:
        assert guard_reason(found) == "the last 20 requests to the challenger all failed"
        assert analyse(found, RULES, EARLY).reason.startswith("the last 20 requests")


@pytest.mark.parametrize(("compared", "answered", "guarded"), [(19, 0, False), (20, 0, True), (20, 1, False)])
def test_twenty_probes_without_an_answer_roll_back_at_once(compared: int, answered: int, guarded: bool) -> None:
    pairs = PairCounts(compared, compared - answered, compared - answered, compared)
    reason = guard_reason(replace(measured(), pairs=pairs))
    assert reason == ("the challenger answered none of 20 probes that the champion answered" if guarded else None)


def test_one_answer_ends_a_row_of_failures_and_a_look_without_any_does_not() -> None:
    found = measured().with_block(counts(30), counts(12, errors=12))
    assert found.with_block(counts(30), counts(0)).failing == 12
    assert found.with_block(counts(30), counts(1, errors=1)).failing == 13
    assert found.with_block(counts(30), counts(5, errors=4)).failing == 0
    assert found.with_block(counts(30, errors=30), counts(9, errors=9)).failing == 12
    assert found.with_block(counts(30, errors=29), counts(9, errors=9)).failing == 21
    assert found.with_block(counts(0), counts(9, errors=9)).failing == 21


@pytest.mark.parametrize("impossible", [Counts(5, 6), Counts(5, -1), Counts(5, 1, Histogram((1.0,), (-1, 3)))])
def test_impossible_counts_change_nothing_and_possible_ones_at_the_limit_do(impossible: Counts) -> None:
    before = measured()
    assert before.with_block(counts(9), impossible) is before
    assert before.with_block(impossible, counts(9)) is before
    for possible in (counts(5, errors=5), counts(5)):
        assert present(before.with_block(counts(9), possible).errors).sums[2] == 5
    assert Evidence().with_block(counts(9), counts(9)) == Evidence()


def test_a_pair_counts_for_what_each_side_said() -> None:
    sides = [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), (None, None)]
    pairs = [*((Pair(*both), "a") for both in sides), (Pair("a", "b"), None)]
    found = PairCounts(1, 1, 1, 1, 1, 1, 1).adding(pairs)
    assert found == PairCounts(
        compared=6, disagreeing=4, challenger_failed=1, labelled=5,
        champion_only_right=2, challenger_only_right=2, both_right=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("percent", "by_chance", "splits"), [(10, True, 1), (10, False, 0), (0, True, 0), (100, True, 0)]
)
def test_a_step_is_tested_for_its_split_where_chance_routes(percent: int, by_chance: bool, splits: int) -> None:
    begun = measured().at_new_step(percent, by_chance)
    assert len(begun.splits) == splits
    counted = begun.with_split(30, 4).with_split(20, 1)
    assert counted.splits == (Split(10, 50, 5),) * splits
    again = counted.at_new_step(25, by_chance).with_split(1, 2)
    assert [(s.percent, s.old, s.new) for s in again.splits[splits:]] == ([(25, 1, 2)] if by_chance else [])
    assert Evidence().at_new_step(10, by_chance=True) == Evidence()
    assert present(begun.errors).starts == present(begun.slow).starts == (1 if percent == 100 else 2)


def test_slow_is_what_is_above_the_champions_95th_percentile_times_the_factor() -> None:
    bounds = (10.0, 20.0, 50.0, 100.0)
    baseline = histogram([5.0] * 95 + [40.0] * 5, bounds)
    assert slow_limit(baseline, 3.0, 0.0) == 30.0
    assert slow_limit(baseline, 3.0, 35.0) == 35.0
    assert slow_limit(baseline, 30.0, 0.0) == 100.0
    assert slow_limit(histogram([5.0] * 94 + [40.0] * 6, bounds), 1.5, 0.0) == 75.0
    assert slow_limit(Histogram(bounds, (0,) * 5), 1.0, 30.0) is None
    assert [baseline.above(limit) for limit in (5.0, 10.0, 10.1, 20.0, 50.0, 1000.0)] == [5, 5, 5, 5, 0, 0]


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0, Ending.ABANDONED), (499, Ending.ABANDONED), (199, Ending.REFUSED), (200, Ending.ANSWERED),
        (299, Ending.ANSWERED), (300, Ending.REFUSED), (429, Ending.REFUSED), (498, Ending.REFUSED),
        (500, Ending.FAILED), (503, Ending.FAILED),
    ],
)  # fmt: skip
def test_each_status_is_an_ending(status: int, ending: Ending) -> None:
    assert ending_of(status) is ending


FIRST = Counts(10, 3, histogram([5.0] * 7), 2, "a")


@pytest.mark.parametrize(
    ("then", "again"),
    [
        (Counts(12, 3, histogram([5.0] * 9), 2, "a"), False),
        (FIRST, False),
        (Counts(9, 3, histogram([5.0] * 7), 2, "a"), True),
        (Counts(10, 2, histogram([5.0] * 7), 2, "a"), True),
        (Counts(10, 3, histogram([5.0] * 6), 2, "a"), True),
        (Counts(10, 3, histogram([5.0] * 7), 1, "a"), True),
        (Counts(10, 3, histogram([5.0] * 7), 2, "b"), True),
    ],
    ids=["more", "the same", "fewer requests", "fewer errors", "fewer answers", "fewer abandoned", "another counter"],
)
def test_counters_began_again_when_any_went_down(then: Counts, again: bool) -> None:
    tally = Tally().updated(FIRST).updated(then)
    assert tally.last is then
    assert tally.kept == (replace(FIRST, source="") if again else Counts())
    total = tally.total
    assert (total.requests, total.errors, total.abandoned, total.latencies.total) == tuple(
        (a if again else 0) + b
        for a, b in zip((10, 3, 2, 7), (then.requests, then.errors, then.abandoned, then.latencies.total), strict=True)
    )


def test_counts_are_subtracted_and_added_bucket_by_bucket() -> None:
    early, late = Counts(4, 1, histogram([5.0, 5.0, 900.0]), 1), Counts(9, 3, histogram([5.0] * 4 + [900.0] * 2), 4)
    came = since(late, early)
    assert (came.requests, came.errors, came.abandoned) == (5, 2, 3)
    assert came.latencies == histogram([5.0, 5.0, 900.0])
    assert since(late, Counts(1, 1)).latencies == late.latencies
    assert total_of([early, came]) == late
    assert total_of([]) == Counts()
    other = Counts(1, 0, histogram([5.0], (10.0,)))
    assert total_of([Counts(), other]).latencies == other.latencies
    with pytest.raises(ValueError, match="argument 2 is"):
        since(other, early)
    with pytest.raises(ValueError, match="buckets of latencies changed"):
        total_of([early, other])


def test_the_reason_says_what_was_counted_on_both_sides() -> None:
    found = analyse(evidence(counts(200, errors=40)), RULES, EARLY)
    assert found.reason == "errors: challenger 40 of 200 (20%), champion 0 of 500 (0%); margin 5%: worse"
    nothing = analyse(Evidence(), RULES, EARLY)
    assert nothing.verdict is Verdict.HOLD
    assert "errors: nothing counted; margin 5%: no data" in nothing.reason
    assert nothing.metrics["disagreement"].words == "disagreement: challenger 0 of 0: for information"
    assert nothing.metrics["slow"].words == "slow answers: nothing counted; margin 15%: no data"
    unsure = analyse(evidence(counts(60)), RULES, LAST).metrics["errors"]
    assert unsure.words.startswith(
        "errors: challenger 0 of 60 (0%), champion 0 of 500 (0%); margin 5%: undecided, the "
    )
    good = analyse(evidence(counts(200)), RULES, LAST)
    assert good.reason == "no worse than the champion, margins apart on errors, slow, accuracy, shadow"
    assert analyse(evidence(counts(200)), RULES, EARLY).reason.startswith("not worse than the champion so far on ")
