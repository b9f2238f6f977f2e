"""The quality gate: the checks that a challenger must pass to be registered. Each gives its reason as a sentence."""

from slipway.components.evaluate.result import Check, Membership, Verdict
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Interval
from slipway.components.learning.scores import Scores


def quality(scores: Scores, why: str, settings: EvaluateSettings) -> Check:
    """Check that macro-F1 reaches the floor. It is used without a champion, or with one that has other labels.

    Args:
        scores: of the challenger.
        why: why the floor is checked, for the reason.
        settings: with the floor.
    """
    value, limit = scores.macro_f1, settings.min_macro_f1
    passed = value >= limit
    sentence = f"macro-F1 {value:.3f} {'reaches' if passed else 'is below'} the floor {limit:.3f} ({why})"
    return Check("macro-F1", value, limit, passed, sentence)


def not_worse(difference: Interval, version: str, settings: EvaluateSettings) -> Check:
    """Check for non-inferiority: with the confidence of the settings, the drop from the champion is within the margin.

    Args:
        difference: macro-F1 of challenger minus champion, on the texts of classes that both know.
        version: of the champion.
        settings: with the margin.
    """
    passed = difference.low >= -settings.max_drop
    sentence = (
        f"macro-F1 differs by {difference.value:+.3f} from champion {version} ({settings.confidence:.0%} interval "
        f"{difference.low:+.3f} to {difference.high:+.3f}); a drop of more than {settings.max_drop:.3f} is "
        f"{'ruled out' if passed else 'not ruled out'}"
    )
    return Check("macro-F1 against the champion", difference.low, -settings.max_drop, passed, sentence)


def class_recall(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """Check that the recall of every class that occurs reaches the limit; None when the check is off."""
    occurring = [item for item in scores.classes if item.support]
    if not settings.min_class_recall or not occurring:
        return None
    worst, limit = min(occurring, key=lambda item: item.recall), settings.min_class_recall
    passed = worst.recall >= limit
    sentence = (
        f"the class recognised least, {worst.label}, has recall {worst.recall:.3f} on {worst.support} texts, "
        f"{'at least' if passed else 'below'} {limit:.3f}"
    )
    return Check("lowest recall of a class", worst.recall, limit, passed, sentence)


def calibration(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """Check that the calibration error is within the limit; None when the check is off."""
    if settings.max_calibration_error >= 1:
        return None
    value, limit = scores.calibration_error, settings.max_calibration_error
    passed = value <= limit
    sentence = f"the expected calibration error {value:.3f} is {'within' if passed else 'above'} {limit:.3f}"
    return Check("calibration error", value, limit, passed, sentence)


def typos(drop: float, settings: EvaluateSettings) -> Check | None:
    """Check that typing errors lower macro-F1 by no more than the limit; None when the check is off.

    Args:
        drop: macro-F1 lost to typing errors.
        settings: with the limit.
    """
    if settings.max_typo_drop >= 1:
        return None
    passed = drop <= settings.max_typo_drop
    sentence = (
        f"typing errors in {settings.typo_rate:.0%} of the words lower macro-F1 by {drop:.3f}, "
        f"{'within' if passed else 'more than'} {settings.max_typo_drop:.3f}"
    )
    return Check("drop by typing errors", drop, settings.max_typo_drop, passed, sentence)


def membership(result: Membership | None, settings: EvaluateSettings) -> Check | None:
    """Check that the model does not reveal its training texts; None when the check is off or was not measured."""
    if not result or settings.max_membership_auc >= 1:
        return None
    value, limit = result.auc, settings.max_membership_auc
    passed = value <= limit
    sentence = (
        f"training texts can be told from others by their loss with an area under the curve of {value:.3f}, "
        f"{'within' if passed else 'above'} {limit:.3f}"
    )
    return Check("recognition of training texts", value, limit, passed, sentence)


def identical(version: str) -> Check:
    """The check that passes when the challenger is the same model as the champion, version `version`."""
    sentence = f"model, tokenizer, labels and data are those of champion {version}, byte for byte"
    return Check("identical to the champion", 1.0, 1.0, True, sentence)


def verdict(checks: list[Check | None]) -> Verdict:
    """The gate's verdict: passed if all checks passed. Checks and reasons are sorted, failed ones first."""
    ordered = sorted((check for check in checks if check), key=lambda check: check.passed)
    return Verdict(
        passed=all(check.passed for check in ordered), reasons=[check.words for check in ordered], checks=list(ordered)
    )
