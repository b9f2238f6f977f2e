"""The statistics of a rollout: bounds that hold at all times, and the verdicts drawn from them."""

import numpy as np
import pytest

from components.rollout.analysis.bounds import lower_bound, upper_bound
from components.rollout.analysis.evidence import Evidence, PairCounts, slow_limit
from components.rollout.analysis.readings import read
from components.rollout.analysis.verdict import Rules, Stage, Verdict, analyse
from components.rollout.counting import Tally
from components.rollout.target import Counts, Pair, histogram

RULES = Rules(max_error_rise=0.05, max_slow_rise=0.15, max_disagreement=0.2, max_accuracy_drop=0.1, alpha=0.05)
LAST, EARLY = Stage(True, 100, 50), Stage(False, 100, 50)
BASELINE = histogram([10.0] * 100)


def counts(requests: int, errors: int = 0, slow: int = 0) -> Counts:
    good = requests - errors
    return Counts(requests, errors, histogram([10.0] * (good - slow) + [200.0] * slow))


def evidence(new: Counts, old: Counts | None = None, pairs: PairCounts | None = None) -> Evidence:
    """With a baseline of 100 answers, which are not evidence about slow answers."""
    old = old or counts(500)
    pairs = pairs or PairCounts(compared=200, labelled=200, both_right=200)
    return Evidence(old, new, pairs, BASELINE, slow_limit(BASELINE, 1.5, 30.0))


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.5])
def test_bounds_hold_at_all_looks_at_once_as_often_as_promised(mean):
    alpha, runs, looks = 0.1, 400, np.arange(10, 501, 10)
    seen = np.cumsum(np.random.default_rng(5).random((runs, 500)) < mean, axis=1)[:, looks - 1]
    table = np.stack([looks - seen, seen], axis=-1)
    too_high = (lower_bound(table, (0.0, 1.0), alpha) > mean).any(axis=1).mean()
    too_low = (upper_bound(table, (0.0, 1.0), alpha) < mean).any(axis=1).mean()
    assert max(too_high, too_low) <= alpha


def test_bounds_close_in_on_the_mean():
    widths = [
        float(upper_bound((9 * n, n), (0, 1), 0.05) - lower_bound((9 * n, n), (0, 1), 0.05)) for n in (10, 100, 1000)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.05


def test_without_observations_bounds_say_nothing():
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
        (evidence(counts(20, errors=20), counts(0)), EARLY, Verdict.ROLL_BACK),
        (evidence(counts(200), pairs=PairCounts()), LAST, Verdict.HOLD),
        (evidence(counts(200), pairs=PairCounts(200, 90, 0, 200, 0, 0, 110)), LAST, Verdict.ROLL_BACK),
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
        "answers differ",
        "wrong",
        "differs where it is right",
    ],
)
def test_the_verdict_on(given, stage, verdict):
    assert analyse(given, RULES, stage).verdict is verdict


def test_a_baseline_is_no_evidence_about_slow_answers():
    reading = read(evidence(counts(50)), 0.05)["slow"]
    assert reading.champion.total == 400


def test_a_revision_that_fails_alone_is_wrong_and_one_text_on_which_both_fail_says_nothing():
    pairs = [(Pair("a", None), "a"), (Pair(None, "b"), "b"), (Pair(None, None), "a")]
    found = PairCounts().adding(pairs)
    assert (found.labelled, found.champion_only_right, found.challenger_only_right) == (2, 1, 1)
    assert (found.compared, found.disagreeing, found.challenger_failed) == (1, 1, 1)


def test_a_tally_keeps_what_was_counted_before_the_counters_started_again():
    tally = Tally()
    for seen in (counts(10, 1), counts(25, 2), counts(5), counts(9)):
        tally = tally.updated(seen)
    assert (tally.total.requests, tally.total.errors, tally.total.latencies.total) == (34, 2, 32)
