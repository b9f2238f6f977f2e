"""The numbers of a rollout's analysis, each computed a second time from its definition."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from slipway.components.rollout.analysis import bounds, difference
from slipway.components.rollout.analysis.bounds import is_above, lower_bound, mean_of, upper_bound
from slipway.components.rollout.analysis.difference import PRIOR, Block, Comparison, comparison
from slipway.components.rollout.analysis.evidence import Evidence, PairCounts
from slipway.components.rollout.analysis.likelihood import log_ratio
from slipway.components.rollout.analysis.readings import Arm, read
from slipway.components.rollout.analysis.split import Split, average, log_bayes_factor, mismatch
from slipway.components.rollout.target import Counts, histogram
from tests.components.present import present

MARGINS = {"errors": 0.05, "slow": 0.15}


def seen(*blocks: tuple[float, float, float, float], **of_comparison: Any) -> Comparison:
    """A comparison with margin 0.05 after blocks of (old, old bad, new, new bad)."""
    found = comparison(0.05, **{"before": (2, 100), **of_comparison})
    for block in blocks:
        found = found.updated(Block(*block))
    return found


@pytest.mark.parametrize("margin", [0.05, 0.5], ids=["five alternatives", "four, since two are cut to the same"])
def test_a_lower_bound_is_claimed_when_the_evidence_reaches_one_over_alpha_and_not_before(margin: float) -> None:
    found = comparison(margin, harms=(0.0,), before=(2, 100))
    for _ in range(6):
        found = found.updated(Block(50, 1, 50, 8))
    prior = PRIOR[: len(found.effects)] / PRIOR[: len(found.effects)].sum()
    evidence = np.log(np.exp(found.over[0]) @ prior) / found.design_effect
    assert evidence > 2
    assert found.lower(np.exp(-evidence) * 1.001) == 0
    assert found.lower(np.exp(-evidence) * 0.999) == -1


def test_an_upper_bound_is_claimed_when_the_evidence_reaches_one_over_alpha_and_not_before() -> None:
    found = comparison(0.05, harms=(0.1,), before=(2, 100))
    for _ in range(6):
        found = found.updated(Block(50, 1, 50, 1))
    evidence = np.log(np.exp(found.under[0]) @ PRIOR) / found.design_effect
    assert evidence > 2
    assert found.upper(np.exp(-evidence) * 1.001) == 0.1
    assert found.upper(np.exp(-evidence) * 0.999) == 1


def test_a_bound_is_the_nearest_harm_up_to_which_all_are_refuted() -> None:
    found = seen(harms=(-0.1, 0.0, 0.1))
    strong, none = np.full(5, 50.0), np.zeros(5)
    for refuted, lower, upper in (((0,), -0.1, 1.0), ((0, 1), 0.0, 1.0), ((0, 2), -0.1, 0.1), ((1, 2), -1.0, 0.0)):
        logs = np.stack([strong if number in refuted else none for number in range(3)])
        given = replace(found, over=logs, under=logs, blocks=np.array(1.0))
        assert (float(given.lower(0.05)), float(given.upper(0.05))) == (lower, upper)
    everything = replace(found, over=np.full((3, 5), 50.0), under=np.full((3, 5), 50.0), blocks=np.array(1.0))
    assert (float(everything.lower(0.05)), float(everything.upper(0.05))) == (0.1, -0.1)


@pytest.mark.parametrize("earlier", [0, 20])
def test_harm_that_may_come_in_spells_is_claimed_when_more_blocks_are_harmful_than_spells_explain(earlier: int) -> None:
    found = seen(*[(50, 0, 50, 0)] * earlier, spells=1 / 3).started_again()
    for block in range(1, 9):
        found = found.updated(Block(50, 0, 50, 25))
        shown = [is_above(counts, 1 / 3, 0.025) for counts in ((earlier, block), (0, block))]
        assert (found.lower(0.05) >= 0) == any(shown) == (block >= 5)
    assert found.harmful.tolist() == [[earlier, 8], [0, 8]]


@pytest.mark.parametrize(("counts", "mean"), [((0, 5), 0.4), ((20, 2), 0.003), ((20, 2), 0.004), ((3, 30), 0.7)])
def test_a_share_is_shown_to_be_above_what_its_lower_bound_is_above(counts: tuple[int, int], mean: float) -> None:
    assert bool(is_above(counts, mean, 0.05)) == (float(lower_bound(counts, (0.0, 1.0), 0.05)) > mean)


def test_each_start_bets_a_half_of_what_the_starts_before_it_left() -> None:
    found = seen()
    shares = [float(np.exp(found.over).max())]
    for _ in range(4):
        found = found.started_again()
        shares.append(float(np.exp(found.over).max()))
        assert np.ptp(found.over) == 0
        assert (found.under == 0).all()  # nothing is known of this step yet, and the whole capital bets
    np.testing.assert_allclose(np.diff(shares, prepend=0), [0.9, 0.05, 0.025, 0.0125, 0.00625])


def test_the_harm_is_averaged_over_blocks_with_mantel_haenszel_weights() -> None:
    found = seen((90, 9, 10, 2), (50, 5, 50, 10)).started_again().updated(Block(20, 1, 30, 6))
    weights = [90 * 10 / 100, 50 * 50 / 100, 20 * 30 / 50]
    assert float(found.harm) == pytest.approx(np.average([0.1, 0.1, 0.15], weights=weights))
    assert float(found.harm_lately) == pytest.approx(0.15)
    assert found.blocks == 3
    assert found.sums.tolist() == [160, 15, 90, 18]
    assert seen((1, 0, 1, 1)).blocks == 1


def test_a_period_of_one_revision_joins_the_next_block() -> None:
    found = seen((40, 2, 0, 0))
    assert (float(found.blocks), found.waiting.tolist(), found.sums.tolist()) == (0, [40, 2, 0, 0], [0, 0, 0, 0])
    assert np.isnan(found.harm)
    joined, whole = found.updated(Block(10, 1, 20, 3)), seen((50, 3, 20, 3))
    assert joined.waiting.tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(joined.over, whole.over)
    np.testing.assert_array_equal(joined.under, whole.under)


@pytest.mark.parametrize("assumed", [1.0, 4.0])
def test_the_design_effect_is_the_variance_between_blocks_over_that_of_independent_answers(assumed: float) -> None:
    first, second, third = (40, 4, 20, 3), (30, 0, 30, 6), (60, 12, 20, 1)
    found = seen(first, second, third, assumed=assumed)
    squares = expected = 0.0
    for before, (old, old_bad, new, new_bad) in (((first,), second), ((first, second), third)):
        weights = [a * c / (a + c) for a, _, c, _ in before]
        harm = np.average([d / c - b / a for a, b, c, d in before], weights=weights)
        weight, total = old * new / (old + new), old + new
        both = (old_bad + new_bad) / total
        shares = np.clip(both - harm * new / total, 0, 1), np.clip(both + harm * old / total, 0, 1)
        squares += (weight * (new_bad / new - old_bad / old - harm)) ** 2
        expected += weight**2 * (shares[0] * (1 - shares[0]) / old + shares[1] * (1 - shares[1]) / new)
    assert float(found.design_effect) == pytest.approx((squares + 2 * assumed) / (expected + 2))
    assert float(seen(first, assumed=assumed).design_effect) == assumed
    assert float(seen(*[(40, 2, 40, 2)] * 20).design_effect) == 1  # never below
    assert float(seen(*[(40, 2, 40, 2)] * 20, least=7.0).design_effect) == 7


def test_the_champion_is_expected_to_do_as_before() -> None:
    found = seen(before=(3, 50)).updated(Block(100, 8, 5, 0))
    assert float(found._champion_share()) == pytest.approx((0.2 + 3 + 8) / (10 + 50 + 100))


@pytest.mark.parametrize(
    ("share", "harm", "side"),
    [
        (0.15, 0.0, 1),
        (0.15, 0.1, 1),
        (0.15, -0.2, 1),
        (0.15, 0.0, -1),
        (0.15, 0.3, -1),
        (0.95, 0.0, 1),
        (0.05, 0.0, -1),
    ],
)
def test_the_likelihood_ratio_is_that_of_the_alternative_to_the_nearest_point_of_the_hypothesis(
    share: float, harm: float, side: float
) -> None:
    old, old_bad, new, new_bad = 40.0, 6.0, 25.0, 9.0
    other = np.clip(share + harm + side * 0.12, -1, 2)

    def divergence(point: float) -> float:
        pairs = ((old, share, point), (new, np.clip(other, 5e-4, 1 - 5e-4), point + harm))
        return float(sum(n * (a * np.log(a / b) + (1 - a) * np.log((1 - a) / (1 - b))) for n, a, b in pairs))

    low, high = max(0.0, -harm), min(1.0, 1 - harm)
    point = optimize.minimize_scalar(divergence, bounds=(low + 1e-9, high - 1e-9), method="bounded").x
    expected = sum(
        stats.binom.logpmf(bad, n, np.clip(a, 5e-4, 1 - 5e-4)) - stats.binom.logpmf(bad, n, b)
        for n, bad, a, b in ((old, old_bad, share, point), (new, new_bad, other, point + harm))
    )
    given = tuple(np.full((1, 1), number) for number in (old, old_bad, new, new_bad))
    found = log_ratio(given, np.full((1, 1), share), np.full((1, 1), other), np.array([[harm]]), side)
    assert float(found[0, 0]) == pytest.approx(expected, abs=1e-3)
    wrong_side = log_ratio(given, np.full((1, 1), share), np.full((1, 1), other), np.array([[harm]]), -side)
    assert float(wrong_side[0, 0]) == 0
    for nothing in (0, 2):
        empty = tuple(np.zeros((1, 1)) if part in (nothing, nothing + 1) else n for part, n in enumerate(given))
        shares = np.full((1, 1), share), np.full((1, 1), other), np.full((1, 1), harm)
        assert float(log_ratio(empty, *shares, side)[0, 0]) == 0


@pytest.mark.parametrize(("harm", "side"), [(0.05, 1.0), (0.05, -1.0), (-0.1, 1.0), (0.0, -1.0)])
def test_whatever_the_shares_are_within_the_hypothesis_no_bet_gains_on_average(harm: float, side: float) -> None:
    old, new = 5, 4
    bad, other = np.meshgrid(np.arange(old + 1.0), np.arange(new + 1.0))
    counts = tuple(np.broadcast_to(part, bad.shape)[..., None, None] for part in (float(old), bad, float(new), other))
    effects = np.array([0.02, 0.1, 0.3])
    gained = np.exp(log_ratio(counts, np.full((1, 1), 0.2), 0.2 + harm + side * effects, np.array([[harm]]), side))
    for share in np.linspace(max(0.0, -harm), min(1.0, 1 - harm), 30):
        chance = stats.binom.pmf(bad, old, share) * stats.binom.pmf(other, new, np.clip(share + harm, 0, 1))
        assert (np.tensordot(chance, gained, 2) <= 1 + 1e-6).all()


def test_the_margin_and_what_is_around_it_are_tested() -> None:
    harms = difference.tested_harms(0.05)
    assert (np.diff(harms) > 0).all()
    np.testing.assert_allclose(harms, -harms[::-1])
    expected = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3, 4, 5, 6, 8, 10, 12, 15]
    np.testing.assert_allclose(harms[harms >= 0] / 0.05, expected)
    assert 0.96 in difference.tested_harms(0.96)
    assert max(abs(difference.tested_harms(0.5))) < 0.95


@pytest.mark.parametrize("counts", [(0, 5), (20, 2), (300, 40)])
def test_a_bound_of_a_mean_is_where_the_capital_reaches_one_over_alpha(
    counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = counts[1], counts[0]
    low = float(lower_bound(counts, (0.0, 1.0), 0.05))
    bets = bounds._BETS
    capital = np.mean((1 - bets) ** good * (1 - bets + bets / low) ** bad)
    assert capital == pytest.approx(1 / 0.05, rel=1e-3)
    assert float(upper_bound((bad, good), (0.0, 1.0), 0.05)) == pytest.approx(1 - low)
    monkeypatch.setattr(bounds, "_CHUNK", 2)
    np.testing.assert_array_equal(lower_bound([counts] * 5, (0.0, 1.0), 0.05), np.full(5, low))
    assert lower_bound(np.zeros((0, 3, 2)), (0.0, 1.0), 0.05).shape == (0, 3)


@pytest.mark.parametrize(
    ("counts", "bound"), [((0, 5), 0.42639), ((20, 2), 0.0036173), ((300, 40), 0.068984), ((2, 98), 0.90221)]
)
def test_the_bets_are_the_same_from_release_to_release_so_that_a_kept_rollout_reads_the_same(
    counts: tuple[int, int], bound: float
) -> None:
    assert float(lower_bound(counts, (0.0, 1.0), 0.05)) == pytest.approx(bound, rel=1e-4)


def test_values_between_0_and_1_count_by_their_size() -> None:
    counts, values = (3, 4, 5), (0.0, 0.5, 1.0)
    assert float(mean_of(counts, values)) == pytest.approx(7 / 12)
    with np.errstate(all="raise"):  # as in most looks at the beginning
        assert np.isnan(mean_of((0, 0, 0), values))
    low, bets = float(lower_bound(counts, values, 0.1)), bounds._BETS
    capital = np.mean(np.prod([(1 - bets + bets * x / low) ** n for n, x in zip(counts, values, strict=True)], axis=0))
    assert capital == pytest.approx(10, rel=1e-3)


def test_each_metric_has_its_part_of_alpha_and_the_whole_of_beta() -> None:
    found = Evidence().measured(Counts(100, 2, histogram([10.0] * 98)), 30.0, MARGINS, 1.0)
    for _ in range(8):
        found = found.with_block(
            Counts(60, 2, histogram([10.0] * 50 + [99.0] * 8)), Counts(40, 4, histogram([10.0] * 26 + [99.0] * 10))
        )
    found = replace(found, pairs=PairCounts(90, 12, 1, 80, 9, 4, 60), copies=PairCounts(50, 8))
    metrics, alpha, beta = read(found, 0.04, 0.06), 0.04, 0.06
    for name, part, compared in (("errors", 0.35, present(found.errors)), ("slow", 0.3, present(found.slow))):
        assert (metrics[name].lower, metrics[name].upper) == (
            float(compared.lower(alpha * part)),
            float(compared.upper(beta)),
        )
        assert metrics[name].harm == compared.harm
        assert metrics[name].lately == compared.harm_lately
    for name, differing, of in (("disagreement", 12, 90), ("shadow", 8, 50)):
        counts = (of - differing, differing)
        assert metrics[name].lower == lower_bound(counts, (0, 1), alpha * 0.1)
        assert metrics[name].upper == upper_bound(counts, (0, 1), beta)
        assert (metrics[name].harm, metrics[name].total) == (differing / of, of)
        assert metrics[name].champion is None
    accuracy = metrics["accuracy"]
    assert accuracy.lower == 2 * lower_bound((4, 67, 9), (0, 0.5, 1), alpha * 0.1) - 1
    assert accuracy.upper == 2 * upper_bound((4, 67, 9), (0, 0.5, 1), beta) - 1
    assert (accuracy.harm, accuracy.total) == (5 / 80, 80)
    assert (present(accuracy.champion).bad, present(accuracy.challenger).bad) == (80 - 60 - 9, 80 - 60 - 4)
    bad = metrics["errors"].challenger
    interval = [float(bound((288, 32), (0, 1), alpha / 2)) for bound in (lower_bound, upper_bound)]
    assert bad == Arm(320, 32, 0.1, *interval)
    assert present(metrics["errors"].champion).total == 480


def test_without_evidence_nothing_is_known() -> None:
    metrics = read(Evidence(), 0.05, 0.05)
    for name in ("errors", "slow", "accuracy"):
        assert (metrics[name].harm, metrics[name].lower, metrics[name].upper, metrics[name].total) == (None, -1, 1, 0)
    measured = read(Evidence().measured(Counts(100), 30.0, MARGINS, 1.0), 0.05, 0.05)["errors"]
    assert (measured.harm, measured.lower, measured.upper, measured.total) == (None, -1, 1, 0)
    assert measured.challenger == Arm(0, 0, None, 0.0, 1.0)


@pytest.mark.parametrize(("old", "new", "share"), [(90, 10, 0.1), (60, 40, 0.25), (0, 7, 0.5)])
def test_the_evidence_against_a_split_is_a_bayes_factor_with_a_prior_around_the_asked_share(
    old: int, new: int, share: float
) -> None:
    def likelihood(other: float) -> float:
        prior = stats.beta.pdf(other, 20 * share, 20 * (1 - share))
        return float(prior * (other / share) ** new * ((1 - other) / (1 - share)) ** old)

    expected = np.log(integrate.quad(likelihood, 0, 1)[0])
    assert float(log_bayes_factor(old, new, share)) == pytest.approx(expected, abs=1e-5)
    assert mismatch([Split(round(100 * share), old, new)]) == pytest.approx(np.log(np.exp(expected) / 2 + 0.5))


def test_the_evidence_of_several_steps_is_averaged_and_of_those_to_come_counts_as_none() -> None:
    assert float(average([])) == 0
    logs = [np.asarray(np.log(8.0)), np.asarray(np.log(12.0))]
    assert np.exp(float(average(logs))) == pytest.approx(8 / 2 + 12 / 4 + 1 / 4)
