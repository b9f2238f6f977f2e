"""The section of the run's report about the step `rollout`: why it was decided, and the evidence over time."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components import page

TITLES = {
    "errors": "Failed requests",
    "slow": "Slow answers",
    "disagreement": "Other answers than the champion",
    "accuracy": "Wrong answers to labelled texts",
}
OUTCOMES: dict[str, tuple[str, page.Tone]] = {
    "promoted": ("Promoted", "good"),
    "already_champion": ("Serving already", "good"),
    "rolled_back": ("Rolled back", "bad"),
    "held": ("Held", "neutral"),
}
INK, GOOD, BAD, CHAMPION, CHALLENGER = "#1c2430", "#1a7f4b", "#b3261e", "#8a94a3", "#2f5d9e"


def section(result: dict[str, Any]) -> str:
    """HTML fragment: the decision in a sentence, charts of the evidence, champion beside challenger."""
    title, tone = OUTCOMES[result["outcome"]]
    parts = [page.heading("Rollout"), page.notice(f"{title}: {result['reason']}.", tone)]
    if "timeline" not in result:
        return "\n".join(parts)
    parts.append(page.facts(_facts(result)))
    if result["metrics"]:
        parts.append(page.paragraph(_source(result)))
        parts.append(page.figure(evidence_chart(result), _evidence_caption(result)))
        parts.append(page.table(["", "Champion", "Challenger", "Harm (bounds)", "Margin", "Verdict"], _rows(result)))
    if len(result["periods"]) > 1:
        parts.append(page.figure(traffic_chart(result), "The challenger's share of traffic over time"))
        parts.append(page.details("Phases and steps", page.table(*_periods(result))))
    settings = [[name, str(value)] for name, value in result["settings"].items()]
    parts.append(page.details("Settings", page.table(["Setting", "Value"], settings)))
    return "\n".join(parts)


def _facts(result: dict[str, Any]) -> dict[str, str]:
    requests = result["requests"]
    facts = {
        "Version rolled out": result["version"],
        "Version that serves now": result["serving"] or "none",
        "Time": f"{result['seconds']:.0f} s",
    }
    if result["metrics"]:
        facts["Requests to challenger / champion"] = f"{requests['challenger']} / {requests['champion']}"
        facts["Failed requests of challenger / champion"] = (
            f"{requests['challenger_errors']} / {requests['champion_errors']}"
        )
        facts["Texts compared"] = str(result["compared"]["labelled"])
    if result["resumed"]:
        facts["Resumed"] = f"{result['resumed']} times"
    return facts


def _source(result: dict[str, Any]) -> str:
    clients, probes = result["requests"]["clients"], result["requests"]["probes"]
    if not probes:
        return f"All {clients} requests came from clients."
    return (
        f"Clients sent {clients} requests, too few for a verdict, so {probes} probes were replayed from the test split "
        "through the public endpoint."
    )


def _evidence_caption(result: dict[str, Any]) -> str:
    alpha = result["settings"]["alpha"]
    slow = f" Slow is above {result['slow_ms']:.0f} ms." if result["slow_ms"] else ""
    return (
        "How much worse the challenger is (line) with bounds that hold at all times (band). Rolled back when the band "
        "lies above 0 and the line above the margin; promoted when the whole band is below the margin. All wrong "
        f"rollbacks together have a probability of at most {100 * alpha:g}%.{slow}"
    )


def evidence_chart(result: dict[str, Any]) -> Figure:
    """A panel for each metric: the estimated harm, its bounds and the margin over the rollout."""
    figure = Figure(figsize=(10.4, 5.6), layout="constrained")
    panels = figure.subplots(2, 2).flat
    for axes, (name, metric) in zip(panels, result["metrics"].items(), strict=True):
        _panel(axes, name, metric, result["timeline"])
    return figure


def _panel(axes: Axes, name: str, metric: dict[str, Any], timeline: list[dict[str, Any]]) -> None:
    paired = name in ("disagreement", "accuracy")
    seen, points = set(), []
    for point in timeline:
        place = point["texts"] if paired else point["requests"]
        if point["metrics"][name][0] is not None and place not in seen:
            seen.add(place)
            points.append((place, *(100 * value for value in point["metrics"][name])))
    colour = {"roll back": BAD, "go on": GOOD}.get(metric["verdict"], CHAMPION)
    said = {"roll back": "worse", "go on": "no worse"}.get(metric["verdict"], "undecided" if points else "no data")
    margin = 100 * metric["margin"]
    axes.set_title(f"{TITLES[name]}: {said}", color=colour, loc="left", fontsize=11, fontweight="bold")
    axes.axhline(0, color="0.7", linewidth=1)
    axes.axhline(margin, color=BAD, linewidth=1.2, linestyle="--")
    axes.annotate(f"margin {margin:g}", (1, margin), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                  textcoords="offset points", color=BAD, fontsize=8, ha="right")  # fmt: skip
    if points:
        places, harm, lower, upper = zip(*points, strict=True)
        marker = "o" if len(points) < 6 else None
        axes.fill_between(places, lower, upper, color=colour, alpha=0.18, linewidth=0)
        if len(points) == 1:
            axes.vlines(places, lower, upper, color=colour, alpha=0.3, linewidth=6)
        axes.plot(places, harm, color=colour, linewidth=2, marker=marker, markersize=4)
        low, high = min(min(lower[len(lower) // 3 :]), 0), max(max(upper[len(upper) // 3 :]), margin)
        axes.set_ylim(max(low - 5, -104), min(high + 8, 104))
        axes.set_xlim(0, places[-1] * 1.04)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("texts compared" if paired else "requests to the challenger", fontsize=9)
    axes.set_ylabel("percentage points", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def traffic_chart(result: dict[str, Any]) -> Figure:
    """The challenger's share over the seconds of the rollout, with the names of phases and steps."""
    figure = Figure(figsize=(10.4, 2.2), layout="constrained")
    axes = figure.subplots()
    names = {"baseline": "start, baseline", "compare": "comparison"}
    end = result["seconds"]
    for index, period in enumerate(result["periods"]):
        start, stop = period["started_s"], max(period["ended_s"], period["started_s"] + end / 200)
        axes.fill_between([start, stop], period["percent"], color=CHALLENGER, alpha=0.25, linewidth=0)
        axes.plot([start, stop], [period["percent"]] * 2, color=CHALLENGER, linewidth=2)
        label = names.get(period["name"], f"{period['percent']}%")
        axes.annotate(label, ((start + stop) / 2, period["percent"]), xytext=(0, 4 + 10 * (index % 2)),
                      textcoords="offset points", ha="center", fontsize=8, color=INK)  # fmt: skip
    final = 100 if result["outcome"] == "promoted" else 0
    if result["outcome"] != "held":
        tone = GOOD if final else BAD
        axes.plot([end, end * 1.06], [final] * 2, color=tone, linewidth=3)
        text = OUTCOMES[result["outcome"]][0].lower()
        axes.annotate(text, (end * 1.06, final), xytext=(4, -3), textcoords="offset points", color=tone, fontsize=9)
    axes.set(ylim=(-3, 112), xlim=(0, end * 1.16), xlabel="seconds", ylabel="% of traffic")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _rows(result: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, metric in result["metrics"].items():
        harm = "no data"
        if metric["harm"] is not None:
            harm = f"{_points(metric['harm'])} ({_points(metric['lower'])} to {_points(metric['upper'])})"
        sides = [_side(metric["champion"]), _side(metric["challenger"])]
        verdict = {"roll back": "worse", "go on": "no worse"}.get(metric["verdict"], "undecided")
        rows.append([TITLES[name], *sides, harm, _points(metric["margin"]), verdict])
    latencies = [f"{value:.0f} ms" if value else "–" for value in result["p95_ms"].values()]
    rows.append(["95th percentile of latency", *latencies, "", "", ""])
    return rows


def _side(arm: dict[str, Any] | None) -> str:
    if arm is None or arm["rate"] is None:
        return "–"
    return f"{arm['bad']} of {arm['total']} ({100 * arm['rate']:.1f}%)"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("+0.0", "0.0").replace("-0.0", "0.0")


def _periods(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = {
        "baseline": "start and baseline",
        "compare": "comparison of answers",
        "shadow": "shadow",
        "traffic": "traffic",
    }
    rows = [
        [
            names[period["name"]],
            f"{period['percent']}%",
            f"{period['ended_s'] - period['started_s']:.1f}",
            str(period["requests"]),
            str(period["champion_requests"]),
        ]
        for period in result["periods"]
    ]
    return ["Phase", "Challenger's share", "Seconds", "Requests to challenger", "Requests to champion"], rows
