"""The section of the run's report about the step `rollout`: the decision, its reason, and the evidence over time."""

from functools import partial

from slipway.components.rollout.analysis.readings import Arm
from slipway.components.rollout.analysis.verdict import NEVER
from slipway.components.rollout.charts import PHASES, TITLES, evidence_chart, traffic_chart, verdict_text
from slipway.components.rollout.result import RolloutResult
from slipway.components.step_runtime import html
from slipway.components.step_runtime.step_result import number

OUTCOMES: dict[str, tuple[str, html.Tone]] = {
    "promoted": ("Promoted", "good"),
    "already_champion": ("Serving already", "good"),
    "rolled_back": ("Rolled back", "bad"),
    "held": ("Held", "neutral"),
}


def section(result: RolloutResult) -> str:
    """An HTML fragment: the decision as a sentence, a table of the metrics, and charts of the evidence."""
    title, tone = OUTCOMES[result.outcome]
    parts = [html.heading("Rollout"), html.notice(f"{title}: {result.reason}.", tone)]
    if result.outcome == "already_champion":
        return "\n".join(parts)
    parts.append(html.facts(_facts(result)))
    if result.metrics:
        parts.append(html.paragraph(_source(result)))
        parts.append(html.table(["", "Champion", "Challenger", "Harm (bounds)", "Margin", "Verdict"], _rows(result)))
        parts.append(html.figure(partial(evidence_chart, result), _evidence_caption(result)))
    if len(result.periods) > 1:
        parts.append(html.figure(partial(traffic_chart, result, title), "The challenger's share of traffic over time"))
        parts.append(html.details("Phases and steps", html.table(*_periods(result))))
    settings = [[name, str(value)] for name, value in result.settings.items()]
    parts.append(html.details("Settings", html.table(["Setting", "Value"], settings)))
    return "\n".join(parts)


def _facts(result: RolloutResult) -> dict[str, str]:
    requests = result.requests
    facts = {
        "Version rolled out": result.version,
        "Version that serves now": result.serving or "none",
        "Time": f"{result.seconds:.0f} s",
    }
    if result.metrics:
        facts["Requests to challenger / champion"] = f"{requests.challenger} / {requests.champion}"
        facts["Failed requests of challenger / champion"] = f"{requests.challenger_errors} / {requests.champion_errors}"
        facts["Texts compared"] = str(result.compared.labelled)
        facts["Copies of live requests compared"] = str(requests.copied)
        facts["Clients"] = "stay with a version" if requests.sticky else "go by chance"
    if result.resumed:
        facts["Resumed"] = f"{result.resumed} times"
    return facts


def _source(result: RolloutResult) -> str:
    clients, probes = result.requests.clients, result.requests.probes
    if not probes:
        return f"All {clients} requests came from clients."
    return (
        f"Clients sent {clients} requests, too few for a verdict, so {probes} probes were replayed from the test split "
        "through the public endpoint. The gate has judged by these texts, so they say how fast and how surely it "
        "answers, and nothing new about accuracy."
    )


def _evidence_caption(result: RolloutResult) -> str:
    alpha, beta = (100 * number(result.settings, name) for name in ("alpha", "beta"))
    slow = f" Slow is above {result.slow_ms:.0f} ms." if result.slow_ms else ""
    return (
        "First: how much worse the challenger is (line), with its confidence sequence (band: bounds that hold at every "
        "moment at once) and the margin (dashed). Promoted when every band ends below its margin; rolled back when a "
        "band lies above 0 and the line nearer to the margin than to 0. Dots: the verdict at each look (grey: "
        "undecided, green: no worse, red: worse). Beside or below it: both versions' shares. A version that is no "
        f"worse is rolled back with probability {alpha:g}% at most, one that is worse than a margin is promoted with "
        f"{beta:g}% at most.{slow}"
    )


def _rows(result: RolloutResult) -> list[list[str]]:
    rows = []
    for name, metric in result.metrics.items():
        harm = "no data"
        if metric.harm is not None:
            harm = f"{_points(metric.harm)} ({_points(metric.lower)} to {_points(metric.upper)})"
        verdict = verdict_text(metric.verdict, metric.upper, metric.margin)
        sides = [_side(metric.champion), _side(metric.challenger)]
        margin = _points(metric.margin) if metric.margin < NEVER else "–"
        rows.append([TITLES[name], *sides, harm, margin, verdict])
    latencies = [f"{value:.0f} ms" if value else "–" for value in (result.p95_ms.champion, result.p95_ms.challenger)]
    rows.append(["95th percentile of latency", *latencies, "", "", ""])
    return rows


def _side(arm: Arm | None) -> str:
    if arm is None or arm.rate is None:
        return "–"
    return f"{arm.bad} of {arm.total} ({100 * arm.rate:.1f}%)"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def _periods(result: RolloutResult) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            PHASES.get(period.name, "traffic"),
            f"{period.percent}%",
            f"{period.ended_s - period.started_s:.1f}",
            str(period.requests),
            str(period.champion_requests),
        ]
        for period in result.periods
    ]
    return ["Phase", "Challenger's share", "Seconds", "Requests to challenger", "Requests to champion"], rows
