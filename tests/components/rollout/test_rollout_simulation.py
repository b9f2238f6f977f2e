"""Simulated rollouts: wrong decisions are as rare as promised. `benchmarks/rollout` has more cases and rollouts."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from slipway.components.rollout.analysis.evidence import Evidence
from slipway.components.rollout.analysis.readings import read
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Counts, histogram

RUNS = 200
SETTINGS = RolloutSettings()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, which is no installed package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.rollout import baselines, cases, simulation, tables, traffic

    return SimpleNamespace(baselines=baselines, cases=cases, simulation=simulation, tables=tables, traffic=traffic)


def allowed(limit: float) -> float:
    """What a rate of at most `limit` can look like in `RUNS` rollouts (99.9% of the time)."""
    return float(np.quantile(np.random.default_rng(1).binomial(RUNS, limit, 100_000), 0.999) / RUNS)


@pytest.mark.parametrize("number", [0, 3, 5, 6, 7, 8, 12, 13])
def test_wrong_decisions_are_as_rare_as_promised(bench: SimpleNamespace, number: int) -> None:
    row = bench.tables.decided(bench.cases.CASES[number], RUNS, SETTINGS, seed=11)
    assert row["wrong"]["share"] <= allowed(row["limit"]), row
    assert row["promoted" if row["truth"] == "no worse" else "rolled back"]["share"] > 0.9


def test_counts_that_lack_half_of_the_challengers_requests_seldom_promote(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.simulation, "LOOKS", 120)
    row = bench.tables.decided(bench.cases.CASES[-1], 50, SETTINGS, seed=11)
    assert row["held"]["share"] > 0.8


@pytest.mark.parametrize("of_traffic", [0.5, 0.1])
def test_a_rise_of_five_points_is_found_in_fewer_requests_than_by_a_fixed_test(
    bench: SimpleNamespace, of_traffic: float
) -> None:
    ours = bench.tables.found(RUNS, SETTINGS, of_traffic, seed=5)[0]
    assert ours["found"] > 0.9
    assert ours["of_same_power"] <= 1.5
    assert ours["of_power_95"] <= 1.5


def test_a_simulated_rollout_is_judged_as_a_real_one(bench: SimpleNamespace) -> None:
    """The simulation carries many rollouts in one comparison; each is the same as alone."""
    case, margins = bench.cases.CASES[3], SETTINGS.rules().margins
    given = bench.baselines.series(case, 3, 0.5, seed=2)
    many = bench.simulation.comparison(
        margins["errors"], (0.0, margins["errors"]), np.full((3, 2), (1.0, 100.0)), shape=(3,)
    )
    alone = [Evidence().measured(Counts(100, 1, histogram([10.0] * 99)), 30.0, margins, assumed=1.0) for _ in range(3)]
    for look in range(20):
        counts = [part[:, look] for part in (given.old, given.old_failed, given.new, given.new_failed)]
        many = many.updated(bench.simulation.Block(*counts))
        for run in range(3):
            old, old_failed, new, new_failed = (int(part[run]) for part in counts)
            alone[run] = alone[run].with_block(Counts(old, old_failed), Counts(new, new_failed))
    for run in range(3):
        reading = read(alone[run], 0.05, 0.05)["errors"]
        assert reading.harm == pytest.approx(many.harm[run])
        assert (reading.lower >= 0) == (many.lower(0.05 * 0.35)[run] >= 0)
        assert (reading.upper <= margins["errors"]) == (many.upper(0.05)[run] <= margins["errors"])
