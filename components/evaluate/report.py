"""The section of the run's report about the step `evaluate`."""

from functools import partial

from slipway.components.evaluate import pictures, slices
from slipway.components.evaluate.confusion import MOST_CLASSES
from slipway.components.evaluate.result import Difference, EvaluateResult
from slipway.components.explanation import picture
from slipway.components.step_runtime import html
from slipway.components.step_runtime.step_result import number


def section(result: EvaluateResult) -> str:
    """HTML fragment: the gate's verdict with reasons, then figures and tables of the scores."""
    parts = [html.heading("Evaluation and gate"), _verdict(result), html.facts(_facts(result)), _checks(result)]
    parts += _cautions(result) + _baselines(result)
    if difference := result.difference:
        draw = partial(pictures.difference, difference, -number(result.settings, "max_drop"))
        parts.append(html.figure(draw, _difference_caption(result, difference)))
    parts.append(html.figure(partial(pictures.classes, result), _classes_caption(result)))
    parts.append(html.figure(partial(pictures.confusion_and_calibration, result), _confusion_caption(result)))
    parts.append(html.details("Precision, recall and F1 of each class", _class_table(result)))
    if result.slices:
        parts.append(html.details("Scores by length, script and columns of the data", _slice_table(result)))
    if result.mistakes:
        parts.append(html.details("Wrong answers of which the challenger was surest", _mistakes(result)))
    if result.typo_examples:
        table = html.table(["Text", "With typing errors"], result.typo_examples)
        parts.append(html.details("Examples of the typing errors", table))
    settings = [[name, str(value)] for name, value in result.settings.items()]
    parts.append(html.details("Settings", html.table(["Setting", "Value"], settings)))
    return "\n".join(parts)


def _verdict(result: EvaluateResult) -> str:
    if result.identical_to_champion:
        return html.notice(f"The challenger is the champion, version {result.identical_to_champion}.", "good")
    if result.gate.passed:
        return html.notice("The gate lets the challenger pass: all checks are met.", "good")
    failed = result.gate.failures
    return html.notice(f"The gate refuses the challenger: {'; '.join(failed)}.", "bad")


def _facts(result: EvaluateResult) -> dict[str, str]:
    challenger, champion = result.challenger, result.champion
    facts = {}
    for name, key in (("Macro-F1", "macro_f1"), ("Accuracy", "accuracy"), ("Calibration error", "calibration_error")):
        facts[name + (f" (champion {getattr(champion, key):.3f})" if champion else "")] = (
            f"{getattr(challenger, key):.3f}"
        )
    of_champion = f" (champion {champion.typos.drop:.3f})" if champion else ""
    if (best := result.best) and best.macro_f1 is not None:
        facts[f"Below the best so far, version {best.version} ({best.macro_f1:.3f})"] = f"{best.drop or 0:+.3f}"
    if members := result.membership:
        facts["Training texts recognised (AUC; 0.5 is guessing)"] = f"{members.auc:.3f}"
    if roc := result.roc:
        facts[f"Area under the ROC curve of {roc.positive}"] = f"{roc.auc:.3f}"
    return facts | {
        f"Lost to typing errors{of_champion}": f"{challenger.typos.drop:.3f}",
        "Test texts": str(result.texts),
    }


def _baselines(result: EvaluateResult) -> list[str]:
    """A table of the challenger above the champion and the simple classifiers, on the test split."""
    champion = result.champion
    rows = [("challenger", result.challenger.macro_f1, result.challenger.accuracy)]
    rows += [(f"champion, version {champion.version}", champion.macro_f1, champion.accuracy)] if champion else []
    rows += [
        (f"baseline: {item.name}", item.test_macro_f1, item.test_accuracy)
        for item in result.baselines
        if item.test_macro_f1 is not None and item.test_accuracy is not None
    ]
    if not result.baselines:
        return []
    shown = [[name, f"{score:.3f}", f"{accuracy:.3f}"] for name, score, accuracy in rows]
    return [html.table(["Model", "Test macro-F1", "Accuracy"], shown)]


def _checks(result: EvaluateResult) -> str:
    rows = [
        [
            "passed" if check.passed else "failed",
            check.name,
            f"{check.value:.3f}",
            f"{check.limit:.3f}",
            check.words,
        ]
        for check in result.gate.checks
    ]
    return html.table(["Verdict", "Check", "Value", "Limit", "In words"], rows)


def _cautions(result: EvaluateResult) -> list[str]:
    champion, best = result.champion, result.best
    cautions = slices.told(result.slices)
    if best and best.why_not:
        cautions.append(
            f"The best version so far, {best.version} (macro-F1 {best.recorded:.3f} on the test split of then), was "
            f"not compared: {best.why_not}."
        )
    if best and best.drop is not None and not best.same_data:
        cautions.append(
            f"The best version so far, {best.version}, was tested on other data then (macro-F1 {best.recorded:.3f}), "
            "and was tested on this test split now; some of these texts may have been among its training texts, which "
            "would flatter it."
        )
    if not champion:
        return [html.notice(text, "neutral") for text in cautions]
    if not champion.same_data:
        cautions.append(
            "The champion was trained on other data: some of these test texts may have been among its training "
            "texts, which would flatter it."
        )
    if champion.labels_it_lacks:
        labels = ", ".join(champion.labels_it_lacks)
        cautions.append(
            f"The champion does not know the labels {labels}. The two are compared on the other texts, and the "
            "floor holds on all."
        )
    if champion.labels_now_gone:
        labels = ", ".join(champion.labels_now_gone)
        cautions.append(f"The champion also answers {labels}, which the data no longer have: that counts as wrong.")
    return [html.notice(text, "neutral") for text in cautions]


def _difference_caption(result: EvaluateResult, difference: Difference) -> str:
    accuracy, confidence = difference.accuracy, number(result.settings, "confidence")
    version = result.champion.version if result.champion else ""
    return (
        f"Challenger minus champion {version}: macro-F1 on {number(result.settings, 'bootstrap_samples')} "
        f"paired resamples of the test split, {confidence:.0%} interval. "
        f"Accuracy: {accuracy.value:+.3f} ({accuracy.low:+.3f} to {accuracy.high:+.3f})"
    )


def _classes_caption(result: EvaluateResult) -> str:
    classes, shown = len(result.labels), len(pictures.weakest(result))
    scope = "of each class" if shown == classes else f"of the {shown} classes of {classes} where it is lowest"
    models = ", challenger and champion" if result.champion else ""
    return f"F1 {scope}, on the test split{models}{_all_below(classes, shown)}"


def _confusion_caption(result: EvaluateResult) -> str:
    classes = len(result.labels)
    caption = "Confusion matrix of the challenger, and how often it is right at each confidence"
    if classes <= MOST_CLASSES:
        return caption
    return (
        f"{caption}. Of {classes} classes the matrix shows the {MOST_CLASSES - 1} that are confused most, and the "
        f"others as one{_all_below(classes, MOST_CLASSES)}"
    )


def _all_below(classes: int, shown: int) -> str:
    return "; all are in the table below" if classes > shown else ""


def _class_table(result: EvaluateResult) -> str:
    rows = [
        [item.label, *(f"{getattr(item, name):.3f}" for name in ("precision", "recall", "f1")), str(item.support)]
        for item in result.challenger.classes
    ]
    return html.table(["Class", "Precision", "Recall", "F1", "Texts"], rows)


def _slice_table(result: EvaluateResult) -> str:
    rows = [
        [
            item.by,
            item.name,
            str(item.texts),
            *(f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})" for score in (item.accuracy, item.macro_f1)),
            f"{item.surely_worse_by:.3f}" if item.surely_worse_by > 0 else "",
        ]
        for item in result.slices
    ]
    confidence = number(result.settings, "confidence")
    headers = ["Slice by", "Value", "Texts", "Accuracy", "Macro-F1", "Surely worse than all by"]
    return html.table(headers, rows) + html.paragraph(
        f"Intervals of {confidence:.0%} confidence. Macro-F1 is over the classes that occur in a slice. The last "
        "column holds with that confidence over all slices."
    )


def _mistakes(result: EvaluateResult) -> str:
    """A table of all mistakes, then explanations of the first ones: the words that supported the wrong label."""
    parts = [_mistake_table(result)]
    for item in result.mistakes:
        if explanation := item.explanation:
            parts.append(html.paragraph(f"What spoke for {item.predicted} where {item.label} is right:"))
            parts.append(picture.words(explanation))
    return "".join(parts)


def _mistake_table(result: EvaluateResult) -> str:
    rows = [[item.text, item.label, item.predicted, f"{item.confidence:.2f}"] for item in result.mistakes]
    return html.table(["Text", "Label", "Answer", "Confidence"], rows)
