"""The section of the run's report about the step `select_model`."""

from typing import Any

from matplotlib.figure import Figure

from components import page

CHOSEN, GOOD, OTHER = "#1a7f4b", "#2f5d9e", "#aab4c0"


def scalars(result: dict[str, Any]) -> dict[str, float]:
    """Values worth a chart over runs; none when nothing was compared."""
    if not result["compared"]:
        return {}
    means = {candidate["name"]: candidate["mean"] for candidate in result["candidates"]}
    return {
        "chosen_macro_f1": means[result["chosen"]],
        "best_macro_f1": means[result["best"]],
        "candidates": len(means),
    }


def section(result: dict[str, Any]) -> str:
    """HTML fragment: the choice, mean scores with the one-standard-error line, and the table of candidates."""
    parts = [page.heading("Model selection")]
    if not result["compared"]:
        text = f"There was one candidate, {result['chosen']}, so nothing was compared."
        return "\n".join([*parts, page.notice(text, "neutral")])
    candidates = result["candidates"]
    chosen = next(index for index, candidate in enumerate(candidates) if candidate["name"] == result["chosen"])
    winner = candidates[chosen]
    facts = {
        "Chosen": result["chosen"],
        "Mean macro-F1": f"{winner['mean']:.3f} ± {winner['standard_error']:.3f}",
        "Parameters": f"{winner['parameters'] / 1e6:.1f} M",
        "Compared": f"{len(candidates)} candidates × {result['folds']} folds",
        "Texts": f"{result['texts']}",
    }
    caption = "Mean macro-F1 in cross-validation; lines are one standard error, dots are folds"
    parts += [page.facts(facts), page.notice(_reason(result), "good"), page.figure(scores(result), caption)]
    headers = ["Candidate", "Mean macro-F1", "Deviation", "Accuracy", "Seconds a fold", "Parameters", "Changes"]
    parts.append(page.table(headers, [_row(candidate) for candidate in candidates], chosen))
    if result["few"]:
        text = f"Fewer texts than folds, so not in every fold: {', '.join(result['few'])}."
        parts.append(page.notice(text, "neutral"))
    return "\n".join(parts)


def _reason(result: dict[str, Any]) -> str:
    if result["chosen"] == result["best"]:
        return f"{result['chosen']} has the best mean, and nothing cheaper is within one standard error of it."
    return (
        f"{result['chosen']} is the cheapest candidate within one standard error of the best mean, that of "
        f"{result['best']}: the folds cannot tell them apart."
    )


def _row(candidate: dict[str, Any]) -> list[str]:
    return [
        candidate["name"],
        f"{candidate['mean']:.3f}",
        f"{candidate['deviation']:.3f}",
        f"{candidate['accuracy']:.3f}",
        f"{candidate['seconds']:.1f}",
        f"{candidate['parameters'] / 1e6:.1f} M",
        ", ".join(f"{name}={value}" for name, value in candidate["changes"].items()) or "none",
    ]


def scores(result: dict[str, Any]) -> Figure:
    """A bar for each candidate with its standard error and folds; a line where the rule draws it."""
    candidates = result["candidates"]
    figure = Figure(figsize=(10, 1.1 + 0.55 * len(candidates)), layout="constrained")
    axes = figure.subplots()
    for row, candidate in enumerate(candidates):
        good = candidate["mean"] >= result["threshold"]
        colour = CHOSEN if candidate["name"] == result["chosen"] else GOOD if good else OTHER
        axes.barh(row, candidate["mean"], xerr=candidate["standard_error"], color=colour, height=0.55, capsize=4)
        axes.plot(candidate["macro_f1"], [row] * len(candidate["macro_f1"]), "o", color="black", markersize=3)
        mark = "  chosen" if candidate["name"] == result["chosen"] else ""
        end = max(*candidate["macro_f1"], candidate["mean"] + candidate["standard_error"])
        axes.text(end + 0.005, row, f"{candidate['mean']:.3f}{mark}", va="center", ha="left")
    axes.axvline(result["threshold"], color="#b3261e", linestyle="--", linewidth=1)
    axes.text(
        result["threshold"], -0.62, "best − 1 standard error ", ha="right", va="bottom", color="#b3261e", fontsize=9
    )
    axes.set_yticks(range(len(candidates)), [candidate["name"] for candidate in candidates])
    axes.set(xlabel="macro-F1", ylim=(len(candidates) - 0.5, -0.95), xlim=_limits(candidates))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _limits(candidates: list[dict[str, Any]]) -> tuple[float, float]:
    """From 0, so that bars compare by length, to a little over the highest value."""
    return 0.0, 1.15 * max(max(*candidate["macro_f1"], candidate["mean"]) for candidate in candidates)
