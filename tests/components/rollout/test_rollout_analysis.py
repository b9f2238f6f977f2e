"""The statistics of a rollout: bounds that hold at all times, and the verdicts drawn from them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from slipway.components.rollout.analysis.bounds import lower_bound, upper_bound
from slipway.components.rollout.analysis.difference import Block, comparison
from slipway.components.rollout.analysis.evidence import Evidence, PairCounts
from slipway.components.rollout.analysis.readings import ALPHA_SHARES, METRICS, read
from slipway.components.rollout.analysis.split import Split, mismatch
from slipway.components.rollout.analysis.verdict import Rules, Stage, Verdict, analyse
from slipway.components.rollout.counter_resets import Tally
from slipway.components.rollout.target import Counts, Pair, histogram
from tests.components.present import present

RULES = Rules(
    max_error_rise=0.05,
    max_slow_rise=0.15,
    max_disagreement=0.2,
    max_accuracy_drop=0.1,
    alpha=0.05,
    beta=0.05,
    shadow_requests=50,
)
LAST, EARLY = Stage(True, 100, 50), Stage(False, 100, 50)
BASELINE = histogram([10.0] * 100)
SLOW_MS = 30.0


def counts(requests: int, errors: int = 0, slow: int = 0) -> Counts:
    good = requests - errors
    return Counts(requests, errors, histogram([10.0] * (good - slow) + [200.0] * slow))


def measured(assumed: float = 1.0) -> Evidence:
    """After a baseline without errors and slow answers."""
    return Evidence().measured(Counts(100, 0, BASELINE), SLOW_MS, RULES.margins, assumed)


def evidence(new: Counts, old: Counts | None = None, pairs: PairCounts | None = None) -> Evidence:
    """All of it in ten blocks, as even as whole numbers allow."""
    found, old = measured(), old or counts(500)
    for part in range(10):
        found = found.with_block(tenth(old, part), tenth(new, part))
    return replace(found, pairs=pairs or PairCounts(200, 0, 0, 200, 0, 0, 200))


def tenth(whole: Counts, part: int) -> Counts:
    total, errors, slow = (
        number * (part + 1) // 10 - number * part // 10
        for number in (whole.requests, whole.errors, whole.latencies.above(SLOW_MS))
    )
    return counts(total, errors, slow)


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.5])
def test_bounds_hold_at_all_looks_at_once_as_often_as_promised(mean: float) -> None:
    alpha, runs, looks = 0.1, 200, np.arange(20, 501, 20)
    seen = np.cumsum(np.random.default_rng(5).random((runs, 500)) < mean, axis=1)[:, looks - 1]
    table = np.stack([looks - seen, seen], axis=-1)
    too_high = (lower_bound(table, (0.0, 1.0), alpha) > mean).any(axis=1).mean()
    too_low = (upper_bound(table, (0.0, 1.0), alpha) < mean).any(axis=1).mean()
    assert max(too_high, too_low) <= alpha


def test_bounds_close_in_on_the_mean() -> None:
    widths = [
        float(upper_bound((9 * n, n), (0, 1), 0.05) - lower_bound((9 * n, n), (0, 1), 0.05)) for n in (10, 100, 1000)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.05


def test_without_observations_bounds_say_nothing() -> None:
    assert float(lower_bound((0, 0), (0, 1), 0.05)) == 0
    assert float(upper_bound((0, 0), (0, 1), 0.05)) == 1


@pytest.mark.parametrize(
    ("given", "stage", "verdict"),
    [
        (evidence(counts(200)), LAST, Verdict.GO_ON),
        (evidence(counts(60)), EARLY, Verdict.GO_ON),
        (evidence(counts(60)), LAST, Verdict.HOLD),
        (evidence(counts(60)), Stage(False, 10, 50), Verdict.HOLD),
        (evidence(counts(0)), LAST, Verdict.HOLD),
        (evidence(counts(0)), EARLY, Verdict.HOLD),
        (evidence(counts(200, errors=40)), EARLY, Verdict.ROLL_BACK),
        (evidence(counts(200, errors=40), counts(500, errors=100)), EARLY, Verdict.GO_ON),
        (evidence(counts(200, slow=100)), EARLY, Verdict.ROLL_BACK),
        (evidence(counts(200, slow=100), counts(500, slow=200)), EARLY, Verdict.GO_ON),
        (measured().with_block(counts(0), counts(20, errors=20)), EARLY, Verdict.ROLL_BACK),
        (evidence(counts(200), pairs=PairCounts()), LAST, Verdict.HOLD),
        (evidence(counts(200), pairs=PairCounts(200, 90, 0, 200, 5, 85, 105)), LAST, Verdict.GO_ON),
        (evidence(counts(200), pairs=PairCounts(200, 30, 0, 200, 30, 0, 170)), LAST, Verdict.ROLL_BACK),
        (evidence(counts(200), pairs=PairCounts(200, 20, 0, 200, 0, 20, 180)), LAST, Verdict.GO_ON),
    ],
    ids=[
        "equal",
        "equal, early",
        "too few for the last step",
        "below the step's minimum",
        "no request",
        "no request, early",
        "fails",
        "fails as the champion does",
        "slow",
        "slow as the champion is",
        "all fail",
        "nothing compared",
        "other answers, and better ones",
        "wrong",
        "differs where it is right",
    ],
)
def test_the_verdict_on(given: Evidence, stage: Stage, verdict: Verdict) -> None:
    assert analyse(given, RULES, stage).verdict is verdict


def test_a_baseline_is_no_evidence_about_either() -> None:
    reading = read(evidence(counts(50)), 0.05, 0.05)["slow"]
    assert present(reading.champion).total == 500


@pytest.mark.parametrize("stage", [LAST, EARLY], ids=["last", "early"])
@pytest.mark.parametrize(
    ("fresh", "splits", "reason"),
    [
        (False, (), "no new answers"),
        (True, (Split(10, 200, 200),), "not split as asked"),
        (True, (Split(10, 400, 0),), "not split as asked"),
        (True, (Split(10, 900, 100), Split(25, 990, 10)), "not split as asked"),
    ],
)
def test_counts_that_cannot_be_trusted_promote_nothing_and_blame_nobody(
    stage: Stage, fresh: bool, splits: tuple[Split, ...], reason: str
) -> None:
    given = evidence(counts(200))
    given = replace(given, splits=splits)
    found = analyse(given, RULES, Stage(stage.last, 100, 50, fresh))
    assert found.verdict is Verdict.HOLD
    assert reason in found.reason


def test_the_asked_split_is_no_mismatch() -> None:
    assert mismatch((Split(10, 890, 110), Split(25, 760, 240), Split(50, 480, 520))) < 1


def test_a_mismatch_is_claimed_by_chance_as_seldom_as_promised() -> None:
    random, alpha, runs = np.random.default_rng(3), 0.05, 400
    claimed = 0
    for _ in range(runs):
        new = np.cumsum(random.binomial(40, 0.1, size=30))
        looks = [mismatch((Split(10, 40 * number - int(n), int(n)),)) for number, n in enumerate(new, 1)]
        claimed += max(looks) >= -np.log(alpha)
    assert claimed / runs <= alpha


def test_counts_that_contradict_themselves_are_no_evidence() -> None:
    before = evidence(counts(60))
    assert before.with_block(counts(50), Counts(3, 7)) is before
    assert before.with_block(Counts(-5), counts(5)) is before


def test_a_challenger_that_stops_answering_is_noticed_whatever_it_did_before() -> None:
    found = (
        evidence(counts(400)).with_block(counts(30), counts(12, errors=12)).with_block(counts(30), counts(8, errors=8))
    )
    assert "all failed" in analyse(found, RULES, EARLY).reason
    assert analyse(found, RULES, EARLY).verdict is Verdict.ROLL_BACK


def test_a_failure_of_everything_is_not_blamed_on_the_challenger() -> None:
    found = evidence(counts(400)).with_block(counts(80, errors=80), counts(20, errors=20))
    assert analyse(found, RULES, EARLY).verdict is not Verdict.ROLL_BACK


def test_a_bad_hour_of_both_is_no_evidence_against_the_challenger_although_its_totals_look_worse() -> None:
    found = measured()
    for share, failing in ((0.1, 0.0), (0.5, 0.2)):  # the hour comes when the challenger has more of the traffic
        for _ in range(10):
            new, old = round(100 * share), round(100 * (1 - share))
            found = found.with_block(counts(old, round(failing * old)), counts(new, round(failing * new)))
    errors = read(found, 0.05, 0.05)["errors"]
    assert present(present(errors.challenger).rate) - present(present(errors.champion).rate) > 0.05
    assert abs(present(errors.harm)) < 0.005
    assert analyse(found, RULES, EARLY).metrics["errors"].verdict is Verdict.GO_ON


def test_one_revision_alone_is_no_comparison() -> None:
    found = measured().with_block(counts(0), counts(300, errors=30))
    assert read(found, 0.05, 0.05)["errors"].harm is None
    assert read(found.with_block(counts(300), counts(0)), 0.05, 0.05)["errors"].harm == pytest.approx(0.1)


def test_a_challenger_that_turns_bad_in_a_later_step_is_found_almost_as_soon_as_one_that_always_was() -> None:
    def requests_to_find(before: int) -> int:
        found = measured()
        for _ in range(before):
            found = found.with_block(counts(900, errors=18), counts(100, errors=2))
        found = found.at_new_step(50, by_chance=True)
        for look in itertools.count(1):
            found = found.with_block(counts(50, errors=1), counts(50, errors=6))
            if analyse(found, RULES, EARLY).verdict is Verdict.ROLL_BACK:
                return 50 * look
        raise AssertionError

    assert requests_to_find(before=200) <= 2 * requests_to_find(before=0)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_the_bounds_of_the_harm_hold_at_all_looks_at_once_as_often_as_promised(share: float) -> None:
    random, alpha, runs, harm, rate = np.random.default_rng(7), 0.1, 500, 0.05, 0.1
    found = comparison(0.1, harms=(harm,), before=np.stack([random.binomial(100, rate, runs), np.full(runs, 100)], -1),
                       shape=(runs,))  # fmt: skip
    too_high, too_low = np.zeros(runs, bool), np.zeros(runs, bool)
    for _ in range(60):
        level = np.clip(rate + random.normal(0, 0.05, runs), 0.02, 0.5)  # of both, by the hour
        new = random.binomial(40, share, runs)
        found = found.updated(
            Block(40 - new, random.binomial(40 - new, level), new, random.binomial(new, level + harm))
        )
        too_high |= found.lower(alpha) >= harm
        too_low |= found.upper(alpha) <= harm
    assert max(too_high.mean(), too_low.mean()) <= alpha


def test_the_bounds_of_the_harm_close_in_on_it() -> None:
    found, widths = comparison(0.05), []
    for looks in (10, 50, 400):
        for _ in range(looks):
            found = found.updated(Block(50, 1, 50, 2))
        widths.append(float(found.upper(0.05) - found.lower(0.05)))
    assert widths == sorted(widths, reverse=True)
    assert found.lower(0.05) < 0.02 < found.upper(0.05)
    assert widths[-1] <= 0.03


def test_answers_that_come_in_lumps_count_less() -> None:
    even, lumpy = comparison(0.05, before=(2, 100)), comparison(0.05, before=(2, 100))
    for look in range(40):
        even = even.updated(Block(40, 1, 40, 3))
        lumpy = lumpy.updated(Block(40, 10 * (look % 10 == 0), 40, 30 * (look % 10 == 5)))
    assert float(even.harm) == pytest.approx(float(lumpy.harm))
    assert float(lumpy.design_effect) > 3 > float(even.design_effect)
    assert even.lower(0.05) > lumpy.lower(0.05)


def test_every_metric_and_the_split_share_alpha() -> None:
    assert sum(ALPHA_SHARES.values()) == pytest.approx(1)
    deciding = {metric for metric in METRICS if RULES.margins[metric] < 1}
    assert set(ALPHA_SHARES) == {*deciding, "split", "watch"}


@pytest.mark.parametrize(
    ("copies", "verdict"),
    [
        (PairCounts(), Verdict.GO_ON),
        (PairCounts(49, 3), Verdict.GO_ON),
        (PairCounts(60, 12), Verdict.HOLD),
        (PairCounts(400, 8), Verdict.GO_ON),
        (PairCounts(45, 40), Verdict.ROLL_BACK),
    ],
    ids=["no client", "few", "enough for no verdict", "agree", "disagree"],
)
def test_agreement_on_clients_requests_is_asked_for_once_enough_of_them_came(
    copies: PairCounts, verdict: Verdict
) -> None:
    given = evidence(counts(200))
    given = replace(given, copies=copies)
    assert analyse(given, RULES, LAST).verdict is verdict


def test_a_revision_that_fails_alone_is_wrong_and_one_text_on_which_both_fail_says_nothing() -> None:
    pairs = [(Pair("a", None), "a"), (Pair(None, "b"), "b"), (Pair(None, None), "a")]
    found = PairCounts().adding(pairs)
    assert (found.labelled, found.champion_only_right, found.challenger_only_right) == (2, 1, 1)
    assert (found.compared, found.disagreeing, found.challenger_failed) == (1, 1, 1)


def test_a_tally_keeps_what_was_counted_before_the_counters_started_again() -> None:
    tally = Tally()
    for seen in (counts(10, 1), counts(25, 2), counts(5), counts(9)):
        tally = tally.updated(seen)
    assert (tally.total.requests, tally.total.errors, tally.total.latencies.total) == (34, 2, 32)


def test_a_counter_that_was_replaced_started_again_even_when_it_is_higher() -> None:
    tally = Tally()
    for seen in (Counts(10, 1, source="a"), Counts(25, 2, source="b")):
        tally = tally.updated(seen)
    assert (tally.total.requests, tally.total.errors) == (35, 3)


def test_answers_are_called_slow_after_five_blocks_and_errors_at_once() -> None:
    """A busy moment slows all answers of one process together; an error is one."""
    found, claimed = measured(), []
    for _ in range(7):
        found = found.with_block(counts(500), counts(500, errors=200, slow=200))
        assert found.errors
        assert found.slow
        claimed.append((bool(found.errors.lower(0.05) > 0), bool(found.slow.lower(0.05) > 0)))
    assert claimed == [(True, False)] * 4 + [(True, True)] * 3


def test_only_the_last_step_shows_that_a_challenger_is_no_worse_and_every_step_that_it_is() -> None:
    """Harm may come with load, so what a small share of the traffic showed promotes nothing."""
    found, last = measured(), Stage(True, 100, 50)
    for percent in (10, 25, 50):
        assert analyse(found.at_new_step(percent, by_chance=True), RULES, last).undecided
        found = found.at_new_step(percent, by_chance=True)
        for _ in range(10):
            found = found.with_block(counts(100), counts(40))
    assert analyse(found, RULES, last).metrics["errors"].verdict is Verdict.GO_ON
    again = found.at_new_step(60, by_chance=True)
    for name in ("errors", "slow"):
        assert analyse(again, RULES, last).metrics[name].verdict is Verdict.HOLD
    bad = found
    for _ in range(10):
        bad = bad.with_block(counts(100), counts(100, errors=15))
    bad = bad.at_new_step(60, by_chance=True)
    assert analyse(bad, RULES, last).metrics["errors"].verdict is Verdict.ROLL_BACK
    watched = found.at_new_step(100, by_chance=True)  # nothing to compare with: what was shown stays shown
    assert analyse(watched, RULES, last).metrics["errors"].verdict is Verdict.GO_ON


def test_a_slow_block_waits_for_the_end_of_its_window_and_for_the_end_of_its_step() -> None:
    found = measured()
    for number in range(4):
        found = found.with_block(counts(50), counts(50, slow=5), window_ends=number == 2)
    assert present(found.slow).sums.tolist() == [150, 0, 150, 15]
    assert present(found.errors).sums.tolist() == [200, 0, 200, 0]
    assert present(found.at_new_step(25, by_chance=True).slow).sums.tolist() == [200, 0, 200, 20]
    alone = found.with_block(counts(0), counts(50, slow=5), window_ends=False).with_block(counts(0), counts(9))
    assert present(alone.at_new_step(25, by_chance=True).slow).waiting.tolist() == [0, 0, 0, 0]


def test_spells_of_a_challenger_in_every_third_block_are_not_called_slow_and_in_every_one_they_are() -> None:
    few, many = measured(), measured()
    for block in range(30):
        few = few.with_block(counts(100), counts(100, slow=90 if block % 3 == 0 else 0))
        many = many.with_block(counts(100), counts(100, slow=60 + block % 3))
    assert analyse(few, RULES, EARLY).metrics["slow"].verdict is Verdict.GO_ON
    assert analyse(many, RULES, EARLY).metrics["slow"].verdict is Verdict.ROLL_BACK


@pytest.mark.parametrize(
    ("failed", "slow", "reason"),
    [(0.0, 0.0, None), (0.02, 0.1, None), (0.2, 0.0, "errors with all traffic"), (0.0, 0.5, "slow answers with all")],
)
def test_a_challenger_that_gets_worse_with_all_traffic_is_rolled_back(
    failed: float, slow: float, reason: str | None
) -> None:
    found = evidence(counts(200)).at_new_step(100, by_chance=True)
    for _ in range(12):
        found = found.with_all_traffic(counts(100, round(100 * failed), round(100 * slow)), 0.15, window_ends=True)
    judged = analyse(found, RULES, EARLY)
    assert judged.verdict is (Verdict.ROLL_BACK if reason else Verdict.GO_ON)
    assert (reason or "not worse") in judged.reason


def test_one_slow_spell_with_all_traffic_is_not_blamed_on_the_challenger() -> None:
    found = evidence(counts(200)).at_new_step(100, by_chance=True)
    for window in range(20):
        spell = window in (3, 4)
        found = found.with_all_traffic(counts(100, slow=95 if spell else 0), 0.15, window_ends=True)
    assert found.watch.slow_windows == 2
    assert analyse(found, RULES, EARLY).verdict is Verdict.GO_ON


def test_a_window_with_all_traffic_is_slow_by_the_answers_of_all_its_looks() -> None:
    found = evidence(counts(200))
    for slow, ends in ((0, False), (0, False), (40, True), (90, False)):
        found = found.with_all_traffic(counts(100, slow=slow), 0.15, ends)
    assert (found.watch.windows, found.watch.slow_windows, found.watch.requests) == (1, 0, 400)
    assert (found.watch.answers, found.watch.slow) == (100, 90)
