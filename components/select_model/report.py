"""The section of the run's report about the step `select_model`."""

from functools import partial
from typing import TYPE_CHECKING

from slipway.components.select_model.result import SelectModelResult, Summary
from slipway.components.step_runtime import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHOSEN, GOOD, OTHER = "#1a7f4b", "#2f5d9e", "#aab4c0"


def scalars(result: SelectModelResult) -> dict[str, float]:
    """Values to compare over runs; empty when no candidates were compared."""
    if not result.compared:
        return {}
    candidates = {candidate.name: candidate for candidate in result.candidates}
    chosen = candidates[result.chosen]
    return {
        "macro_f1": chosen.mean,
        "accuracy": chosen.accuracy,
        "best_macro_f1": candidates[result.best].mean,
        "candidates": len(candidates),
    }


def section(result: SelectModelResult) -> str:
    """HTML fragment: the choice, mean scores with the one-standard-error line, and the table of candidates."""
    parts = [html.heading("Model selection")]
    if not result.compared:
        text = f"There was one candidate, {result.chosen}, so nothing was compared."
        return "\n".join([*parts, html.notice(text, "neutral")])
    candidates = result.candidates
    chosen = next(index for index, candidate in enumerate(candidates) if candidate.name == result.chosen)
    winner = candidates[chosen]
    facts = {
        "Chosen": result.chosen,
        "Mean macro-F1": f"{winner.mean:.3f} ± {winner.standard_error:.3f}",
        "Parameters": f"{winner.parameters / 1e6:.1f} M",
        "Compared": f"{len(candidates)} candidates × {result.folds} folds",
        "Texts": f"{result.texts}",
    }
    caption = (
        "Macro-F1 in cross-validation: mean (dot), one standard error (bar) and folds (ticks); "
        "shaded: within one standard error of the best mean"
    )
    parts += [html.notice(_reason(result), "good"), html.facts(facts), html.figure(partial(scores, result), caption)]
    headers = ["Candidate", "Mean macro-F1", "Deviation", "Accuracy", "Seconds a fold", "Parameters", "Changes"]
    parts.append(html.table(headers, [_row(candidate) for candidate in candidates], chosen))
    if result.few:
        text = f"Fewer texts than folds, so not in every fold: {', '.join(result.few)}."
        parts.append(html.notice(text, "neutral"))
    return "\n".join(parts)


def _reason(result: SelectModelResult) -> str:
    if result.chosen == result.best:
        return f"{result.chosen} has the best mean, and nothing cheaper is within one standard error of it."
    return (
        f"{result.chosen} is the cheapest candidate within one standard error of the best mean, that of "
        f"{result.best}: the folds cannot tell them apart."
    )


def _row(candidate: Summary) -> list[str]:
    return [
        candidate.name,
        f"{candidate.mean:.3f}",
        f"{candidate.deviation:.3f}",
        f"{candidate.accuracy:.3f}",
        f"{candidate.seconds:.1f}",
        f"{candidate.parameters / 1e6:.1f} M",
        ", ".join(f"{name}={value}" for name, value in candidate.changes.items()) or "none",
    ]


def scores(result: SelectModelResult, width: float) -> "Figure":
    """Mean, standard error and folds of each candidate. The range that counts as good as the best is shaded."""
    candidates = result.candidates
    figure = html.new_figure(width, 1.3 + 0.5 * len(candidates))
    axes = figure.subplots()
    for row, candidate in enumerate(candidates):
        good, chosen = candidate.mean >= result.threshold, candidate.name == result.chosen
        colour = CHOSEN if chosen else GOOD if good else OTHER
        axes.plot(candidate.macro_f1, [row] * len(candidate.macro_f1), "|", color=colour, markersize=12)
        error = candidate.standard_error
        axes.errorbar(candidate.mean, row, xerr=error, fmt="o", color=colour, markersize=10, elinewidth=5)
        text = f"{candidate.mean:.3f}{' chosen' if chosen else ''}"
        axes.annotate(text, (candidate.mean, row), (0, 12), textcoords="offset points", ha="center", color=colour)
    best = next(candidate.mean for candidate in candidates if candidate.name == result.best)
    axes.axvspan(result.threshold, best, color=CHOSEN, alpha=0.12, linewidth=0)
    axes.axvline(result.threshold, color=CHOSEN, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(candidates)), [html.shortened(candidate.name, width) for candidate in candidates])
    axes.set(xlabel="macro-F1", ylim=(len(candidates) - 0.5, -0.8))
    axes.margins(x=0.06)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
