"""Simulated rollouts: wrong decisions are as rare as promised. `benchmarks/rollout` has more cases and rollouts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slipway.components.rollout.analysis.evidence import Evidence
from slipway.components.rollout.analysis.readings import read
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Counts, histogram
from tests.components.rollout.world import WIDE

RUNS = 200
SETTINGS = RolloutSettings(**WIDE)
SPELLS = RolloutSettings()
"""Of cases in which time matters: blocks of slow answers hold a spell."""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the benchmark, which is no installed package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.rollout import baselines, cases, simulation, tables, traffic

    return SimpleNamespace(baselines=baselines, cases=cases, simulation=simulation, tables=tables, traffic=traffic)


def allowed(limit: float, runs: int = RUNS) -> float:
    """What a rate of at most `limit` can look like in so many rollouts (99.9% of the time)."""
    return float(np.quantile(np.random.default_rng(1).binomial(runs, limit, 100_000), 0.999) / runs)


def case_of(bench: SimpleNamespace, name: str) -> Any:
    """The case of the benchmark whose name this is."""
    (case,) = [case for case in bench.cases.CASES if case.name == name]
    return case


@pytest.mark.parametrize(
    "name",
    [
        "identical models",
        "5 points more errors",
        "100% slower",
        "identical, bursty traffic, incidents of both",
        "5 points, bursty traffic, incidents of both",
        "identical, weekday-shaped rate and errors",
        "1% errors, 11% from half of the traffic on",
        "accuracy from 55 to 95%",
    ],
)
def test_wrong_decisions_are_as_rare_as_promised(bench: SimpleNamespace, name: str) -> None:
    row = bench.tables.decided(case_of(bench, name), RUNS, SETTINGS, seed=11)
    assert row["wrong"]["share"] <= allowed(row["limit"]), row
    assert row["promoted" if row["truth"] == "no worse" else "rolled back"]["share"] > 0.9


@pytest.mark.parametrize(
    ("name", "settings", "runs"),
    [
        ("1% errors, 6% from half of the traffic on", SETTINGS, RUNS),
        ("identical, each with busy spells of 2.5 to 10 s", SPELLS, 30),
        ("identical, sticky, ICC 0.6, 100 requests a client", SETTINGS, 60),
        ("5 points, sticky, ICC 0.6, 100 requests a client", SETTINGS, 60),
    ],
)
def test_hard_cases_are_held_rather_than_decided_wrongly(
    bench: SimpleNamespace, name: str, settings: RolloutSettings, runs: int
) -> None:
    """Harm of just the margin that comes with load, spells of one revision, and clients that stay with a revision."""
    row = bench.tables.decided(case_of(bench, name), runs, settings, seed=11)
    assert row["wrong"]["share"] <= allowed(row["limit"], runs), row


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
    case, margins = case_of(bench, "5 points more errors"), SETTINGS.rules().margins
    given = bench.baselines.series(case, 3, 0.5, seed=2)
    many = bench.simulation.comparison(
        margins["errors"], (0.0, margins["errors"]), np.full((3, 2), (1.0, 100.0)), shape=(3,)
    )
    alone = [Evidence().measured(Counts(100, 1, histogram([10.0] * 99)), 30.0, margins) for _ in range(3)]
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
