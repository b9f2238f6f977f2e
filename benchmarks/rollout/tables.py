"""Tables of the simulated rollouts: Markdown for people, plain values for JSON."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from benchmarks.rollout import baselines
from benchmarks.rollout.baselines import NEVER, Series
from benchmarks.rollout.simulation import HELD, PROMOTED, ROLLED_BACK, simulate
from benchmarks.rollout.traffic import Case
from slipway.components.rollout.settings import RolloutSettings

RISE = (0.01, 0.06)


def decided(case: Case, runs: int, settings: RolloutSettings, seed: int) -> dict[str, Any]:
    """How the rollouts of one case ended; shares with 95% Clopper-Pearson intervals."""
    ended = simulate(case, runs, settings, seed)
    shares = {name: share(ended.outcome == code) for name, code in OUTCOMES.items()}
    wrong = {"no worse": shares["rolled back"], "worse": shares["promoted"]}.get(case.truth)
    limit = {"no worse": settings.alpha, "worse": settings.beta}.get(case.truth)
    means = {"requests": float(ended.requests.mean()), "looks": float(ended.looks.mean())}
    held = None if wrong is None or limit is None else wrong["share"] <= limit
    return {"case": case.name, "truth": case.truth, **shares, "wrong": wrong, "limit": limit, "holds": held, **means}


OUTCOMES = {"promoted": PROMOTED, "rolled back": ROLLED_BACK, "held": HELD}


def share(yes: npt.NDArray[np.bool_]) -> dict[str, float]:
    """A share with its interval."""
    interval = binomtest(int(yes.sum()), yes.size).proportion_ci(0.95, method="exact")
    return {"share": float(yes.mean()), "low": float(interval.low), "high": float(interval.high)}


def found(runs: int, settings: RolloutSettings, of_traffic: float, seed: int) -> list[dict[str, Any]]:
    """How soon a rise of failures from 1% by five points is found, by method, with a constant share of traffic."""
    same = baselines.series(Case("same", (RISE[0], RISE[0])), runs, of_traffic, seed)
    worse = baselines.series(Case("worse", RISE), runs, of_traffic, seed + 1)
    worn = baselines.series(Case("both worse", (2 * RISE[0], 2 * RISE[0])), runs, of_traffic, seed + 2)

    def row(method: str, decide: Callable[[Series], npt.NDArray[np.int64]]) -> dict[str, Any]:
        looks = decide(worse)
        requests = baselines.requests_until(worse, looks)
        return {
            "share_of_traffic": of_traffic,
            "method": method,
            "false_alarms": float((decide(same) != NEVER).mean()),
            "false_alarms_at_2_percent": float((decide(worn) != NEVER).mean()),
            "found": float((looks != NEVER).mean()),
            "mean": float(requests.mean()),
            "p95": float(np.quantile(requests, 0.95)),
        }

    ours = row("e-process, as in a rollout", lambda given: baselines.sequential(given, settings))
    allowed = max(ours["false_alarms"], 1 / runs)
    lowest, checks = baselines.quickest_thresholds(same, worse, allowed)
    rows = [
        ours,
        row(f"thresholds, the quickest with its false alarms ({checks} checks below {100 * lowest:g}%)",
            lambda given: baselines.thresholds(given, lowest, checks)),
        row("thresholds, 5 checks below 99%", lambda given: baselines.thresholds(given, 0.99, 5)),
        row("Mann-Whitney at every look", lambda given: baselines.mann_whitney(given, settings.alpha)),
    ]  # fmt: skip
    return [{**row, **_of_fixed_horizon(row["mean"], ours["found"], of_traffic, settings)} for row in rows]


def _of_fixed_horizon(mean: float, power: float, of_traffic: float, settings: RolloutSettings) -> dict[str, float]:
    """The requests that a fixed-horizon test needs, and the mean as a multiple of it.

    The fixed test may spend all of alpha on this metric alone, while ours leaves most of it to the other metrics.
    """
    needed = {
        "same_power": baselines.fixed_horizon(RISE, of_traffic, settings.alpha, min(power, 0.999)),
        "power_95": baselines.fixed_horizon(RISE, of_traffic, settings.alpha, 0.95),
    }
    ratios = {f"of_{name}": mean / requests for name, requests in needed.items()}
    return {f"fixed_horizon_{name}": requests for name, requests in needed.items()} | ratios


def markdown(results: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        f"{results['runs']} simulated rollouts per case; wrong decisions with 95% Clopper-Pearson intervals",
        "",
        "| case | promoted | rolled back | held | wrong decisions | allowed | requests to the challenger |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["cases"]:
        wrong = "–" if row["wrong"] is None else _interval(row["wrong"])
        limit = "–" if row["limit"] is None else f"{100 * row['limit']:g}%"
        shares = " | ".join(f"{100 * row[name]['share']:.1f}%" for name in OUTCOMES)
        lines.append(f"| {row['case']} | {shares} | {wrong} | {limit} | {row['requests']:.0f} |")
    lines += [
        "",
        "A rise of failed requests from 1% to 6%: requests to the challenger until it is found",
        "",
        "| challenger's share | method | false alarms | false alarms when both fail 2% | found | mean | "
        "95% of rollouts | mean, of a fixed-horizon test of the same power | of one with 95% power |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["found"]:
        lines.append(
            f"| {100 * row['share_of_traffic']:g}% | {row['method']} | {100 * row['false_alarms']:.1f}% | "
            f"{100 * row['false_alarms_at_2_percent']:.1f}% | {100 * row['found']:.1f}% | {row['mean']:.0f} | "
            f"{row['p95']:.0f} | {row['of_same_power']:.2f} of {row['fixed_horizon_same_power']:.0f} | "
            f"{row['of_power_95']:.2f} of {row['fixed_horizon_power_95']:.0f} |"
        )
    return "\n".join(lines)


def _interval(found: dict[str, float]) -> str:
    return f"{100 * found['share']:.2f}% ({100 * found['low']:.2f}–{100 * found['high']:.2f})"
