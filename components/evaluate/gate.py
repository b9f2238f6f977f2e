"""The quality gate: which checks a challenger must pass to be registered, each with its reason in plain words."""

from slipway.components.evaluate.result import Check, Membership, Verdict
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Interval
from slipway.components.learning.scores import Scores


def quality(scores: Scores, why: str, settings: EvaluateSettings) -> Check:
    """The floor, for a model that has no champion to be compared with, or one for other labels: `why` says it."""
    value, limit = scores.macro_f1, settings.min_macro_f1
    passed = value >= limit
    words = f"macro-F1 {value:.3f} {'reaches' if passed else 'is below'} the floor {limit:.3f} ({why})"
    return Check("macro-F1", value, limit, passed, words)


def not_worse(difference: Interval, version: str, settings: EvaluateSettings) -> Check:
    """Non-inferiority: with the confidence asked for, the challenger is not worse than the champion by the margin.

    Both on the texts of classes that both know.
    """
    passed = difference.low >= -settings.max_drop
    words = (
        f"macro-F1 differs by {difference.value:+.3f} from champion {version} ({settings.confidence:.0%} interval "
        f"{difference.low:+.3f} to {difference.high:+.3f}); a drop of more than {settings.max_drop:.3f} is "
        f"{'ruled out' if passed else 'not ruled out'}"
    )
    return Check("macro-F1 against the champion", difference.low, -settings.max_drop, passed, words)


def class_recall(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """Every class that occurs is recognised often enough."""
    occurring = [item for item in scores.classes if item.support]
    if not settings.min_class_recall or not occurring:
        return None
    worst, limit = min(occurring, key=lambda item: item.recall), settings.min_class_recall
    passed = worst.recall >= limit
    words = (
        f"the class recognised least, {worst.label}, has recall {worst.recall:.3f} on {worst.support} texts, "
        f"{'at least' if passed else 'below'} {limit:.3f}"
    )
    return Check("lowest recall of a class", worst.recall, limit, passed, words)


def calibration(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """The probabilities can be believed."""
    if settings.max_calibration_error >= 1:
        return None
    value, limit = scores.calibration_error, settings.max_calibration_error
    passed = value <= limit
    words = f"the expected calibration error {value:.3f} is {'within' if passed else 'above'} {limit:.3f}"
    return Check("calibration error", value, limit, passed, words)


def typos(drop: float, settings: EvaluateSettings) -> Check | None:
    """Typing errors do not break the model."""
    if settings.max_typo_drop >= 1:
        return None
    passed = drop <= settings.max_typo_drop
    words = (
        f"typing errors in {settings.typo_rate:.0%} of the words lower macro-F1 by {drop:.3f}, "
        f"{'within' if passed else 'more than'} {settings.max_typo_drop:.3f}"
    )
    return Check("drop by typing errors", drop, settings.max_typo_drop, passed, words)


def membership(found: Membership | None, settings: EvaluateSettings) -> Check | None:
    """The model does not give away what it was trained on."""
    if not found or settings.max_membership_auc >= 1:
        return None
    value, limit = found.auc, settings.max_membership_auc
    passed = value <= limit
    words = (
        f"training texts can be told from others by their loss with an area under the curve of {value:.3f}, "
        f"{'within' if passed else 'above'} {limit:.3f}"
    )
    return Check("recognition of training texts", value, limit, passed, words)


def identical(version: str) -> Check:
    """The challenger is the champion: there is nothing to decide."""
    words = f"model, tokenizer, labels and data are those of champion {version}, byte for byte"
    return Check("identical to the champion", 1.0, 1.0, True, words)


def verdict(checks: list[Check | None]) -> Verdict:
    """Whether all checks passed, and the reasons, failed ones first."""
    made = sorted((check for check in checks if check), key=lambda check: check.passed)
    return Verdict(
        passed=all(check.passed for check in made), reasons=[check.words for check in made], checks=list(made)
    )
