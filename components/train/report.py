"""The section of the run's report about the step `train`."""

from functools import partial
from typing import TYPE_CHECKING

from slipway.components.step_runtime import html
from slipway.components.step_runtime.step_result import number
from slipway.components.train.result import TrainResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY_CUT = 0.02
"""From this share of cut texts on, the report warns."""


def scalars(result: TrainResult) -> dict[str, float | None]:
    """Values to compare over runs."""
    epsilon = result.privacy.epsilon if result.privacy else None
    simple = {
        f"{baseline.name.replace(' ', '_').replace('-', '_')}_macro_f1": baseline.macro_f1
        for baseline in result.baselines
    }
    cut = {"texts_cut": result.texts_cut["train"]} if result.texts_cut else {}
    return {**dict(result.validation), "seconds": result.seconds, "privacy_epsilon": epsilon, **simple, **cut}


def section(result: TrainResult) -> str:
    """HTML fragment: facts, learning curves and settings."""
    validation = result.validation
    facts = {
        "Validation macro-F1": f"{validation.macro_f1:.3f}",
        "Validation accuracy": f"{validation.accuracy:.3f}",
        "Best update": f"{_best(result)} of {result.updates}",
        "Longest text": f"{result.max_length} tokens",
        "Parameters": f"{result.parameters / 1e6:.1f} M",
        "Training time": f"{result.seconds:.0f} s, {result.processes} processes",
    }
    parts = [html.heading("Training"), html.facts(facts)]
    parts += _cut(result)
    if result.resumed_from is not None:
        parts.append(html.notice(f"The training was resumed from update {result.resumed_from}.", "neutral"))
    if result.privacy:
        parts.append(html.notice(f"{result.privacy.sentence()}.", "neutral"))
    if result.stopped_early:
        text = f"The training stopped early: no gain in {number(result.settings, 'patience')} evaluations."
        parts.append(html.paragraph(text))
    parts.append(
        html.figure(partial(learning_curves, result), "Learning curves: loss, macro-F1 and learning rate by update")
    )
    if result.baselines:
        parts.append(html.table(["Model", "Validation macro-F1", "Accuracy"], _baseline_rows(result)))
    parts.append(html.table(["Epoch", "Update", "Loss", "Macro-F1", "Accuracy"], _epoch_rows(result)))
    settings = html.table(["Setting", "Value"], [[name, str(value)] for name, value in result.settings.items()])
    parts.append(html.details("Settings", settings))
    parts.append(html.paragraph(f"MLflow run {result.mlflow_run_id}"))
    return "\n".join(parts)


def _cut(result: TrainResult) -> list[str]:
    """A notice of the texts whose end the model does not read; none when all texts are read whole."""
    cut = {split: count for split, count in result.texts_cut.items() if count}
    if not cut:
        return []
    numbers = ", ".join(f"{count} of {result.texts_read[split]} {split} texts" for split, count in cut.items())
    text = f"Longer than {result.max_length} tokens, and read up to there only: {numbers}."
    many = max(count / result.texts_read[split] for split, count in cut.items()) > MANY_CUT
    return [html.notice(f"{text} Raise train.max_length." if many else text, "bad" if many else "neutral")]


def _baseline_rows(result: TrainResult) -> list[list[str]]:
    """The trained model above the simple classifiers."""
    rows = [("this model", result.validation.macro_f1, result.validation.accuracy)]
    rows += [(f"baseline: {baseline.name}", baseline.macro_f1, baseline.accuracy) for baseline in result.baselines]
    return [[name, f"{score:.3f}", f"{accuracy:.3f}"] for name, score, accuracy in rows]


def _best(result: TrainResult) -> int:
    """The update after which the weights were best."""
    of_epoch = (point.update for point in result.curves.validation if point.epoch == result.best_epoch)
    return result.best_update or next(of_epoch)


def _epoch_rows(result: TrainResult) -> list[list[str]]:
    return [
        [
            f"{point.epoch}" if point.epoch else "before the first",
            f"{point.update}{' (best)' if point.update == _best(result) else ''}",
            f"{point.loss:.3f}",
            f"{point.macro_f1:.3f}",
            f"{point.accuracy:.3f}",
        ]
        for point in result.curves.validation
    ]


def learning_curves(result: TrainResult, width: float) -> "Figure":
    """Three panels over the updates: losses, validation macro-F1 and learning rate. A line marks the best evaluation.

    The panels are side by side, or one below the other in a narrow figure.
    """
    training, validation = result.curves.training, result.curves.validation
    best = _best(result)
    wide = width == html.WIDE
    figure = html.new_figure(width, 3 if wide else 7)
    loss, score, rate = figure.subplots(1, 3) if wide else figure.subplots(3, 1)
    updates = [point.update for point in training]
    evaluated = [point.update for point in validation]
    loss.plot(updates, [point.loss for point in training], label="training")
    loss.plot(evaluated, [point.loss for point in validation], "o-", label="validation")
    loss.set(title="Loss (nats)", ylim=(0, None))
    loss.legend(loc="upper right")
    score.plot(evaluated, [point.macro_f1 for point in validation], "o-", color="tab:orange")
    score.set(title="Validation macro-F1", ylim=(0, 1))
    rate.plot(updates, [point.learning_rate for point in training], color="tab:green")
    rate.set(title="Learning rate", ylim=(0, None))
    for axes in (loss, score, rate):
        axes.axvline(best, color="0.6", linestyle="--", linewidth=1)
        axes.set(xlabel="update", xlim=(0, None))
        axes.grid(alpha=0.3)
    return figure
