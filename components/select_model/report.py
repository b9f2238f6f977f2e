"""The section of the run's report about the step `select_model`."""

from functools import partial
from typing import TYPE_CHECKING

from slipway.components.select_model.result import SelectModelResult, Summary
from slipway.components.step_runtime import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 6
"""With fewer texts of a class the report warns: each fold holds out one or two of them."""
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
        "grey: behind the best by more than one standard error of the difference"
    )
    parts += [html.notice(_reason(result), "good"), html.facts(facts), html.figure(partial(scores, result), caption)]
    headers = [
        "Candidate",
        "Mean macro-F1",
        "Behind the best",
        "Linear probe",
        "Accuracy",
        "Seconds a fold",
        "Parameters",
        "Changes",
    ]
    rows = [_row(candidate) for candidate in candidates]
    tfidf = next((candidate.tfidf for candidate in candidates if candidate.tfidf is not None), None)
    if tfidf is not None:
        rows.append(["baseline: TF-IDF, logistic regression", f"{tfidf:.3f}", *[""] * (len(headers) - 2)])
    parts.append(html.table(headers, rows, chosen))
    text = (
        "Behind the best: the difference of the means ± its standard error, by the same folds and texts. Linear probe: "
        "logistic regression on the candidate's frozen encoder, in the same folds."
    )
    parts.append(html.paragraph(text))
    if 0 < result.least_texts < FEW:
        text = f"The rarest class had {result.least_texts} texts: too few to judge by. Set select.texts to more."
        parts.append(html.notice(text, "neutral"))
    if result.few:
        text = f"Fewer texts than folds, so not in every fold: {', '.join(result.few)}."
        parts.append(html.notice(text, "neutral"))
    return "\n".join(parts)


def _reason(result: SelectModelResult) -> str:
    if result.chosen == result.best:
        return f"{result.chosen} has the best mean, and nothing cheaper is within one standard error of it."
    return (
        f"{result.chosen} is the cheapest candidate within one standard error of the best, {result.best}: the folds "
        "cannot tell them apart."
    )


def _row(candidate: Summary) -> list[str]:
    return [
        candidate.name,
        f"{candidate.mean:.3f}",
        f"{candidate.behind:.3f} ± {candidate.behind_error:.3f}" if candidate.behind else "",
        "" if candidate.linear_probe is None else f"{candidate.linear_probe:.3f}",
        f"{candidate.accuracy:.3f}",
        f"{candidate.seconds:.1f}",
        f"{candidate.parameters / 1e6:.1f} M",
        ", ".join(f"{name}={value}" for name, value in candidate.changes.items()) or "none",
    ]


def scores(result: SelectModelResult, width: float) -> "Figure":
    """Mean, standard error and folds of each candidate. Those that are not as good as the best are grey."""
    candidates = result.candidates
    figure = html.new_figure(width, 1.3 + 0.5 * len(candidates))
    axes = figure.subplots()
    for row, candidate in enumerate(candidates):
        chosen = candidate.name == result.chosen
        good = candidate.as_good or 0 < result.threshold <= candidate.mean
        colour = CHOSEN if chosen else GOOD if good else OTHER
        axes.plot(candidate.macro_f1, [row] * len(candidate.macro_f1), "|", color=colour, markersize=12)
        error = candidate.standard_error
        axes.errorbar(candidate.mean, row, xerr=error, fmt="o", color=colour, markersize=10, elinewidth=5)
        text = f"{candidate.mean:.3f}{' chosen' if chosen else ''}"
        axes.annotate(text, (candidate.mean, row), (0, 12), textcoords="offset points", ha="center", color=colour)
    axes.set_yticks(range(len(candidates)), [html.shortened(candidate.name, width) for candidate in candidates])
    axes.set(xlabel="macro-F1", ylim=(len(candidates) - 0.5, -0.8))
    axes.margins(x=0.06)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
