"""The quality gate: the checks that a challenger must pass to be registered. Each gives its reason as a sentence."""

import numpy as np

from slipway.components.evaluate.result import BestSoFar, Check, Membership, Slice, Verdict
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning import proportions
from slipway.components.learning.bootstrap import Interval
from slipway.components.learning.scores import ClassScore, Scores

RECALLS_NAMED = 5
"""Most classes that the check of recall names."""


def quality(scores: Scores, settings: EvaluateSettings) -> Check:
    """Check that macro-F1 reaches the floor, which holds for every version."""
    value, limit = scores.macro_f1, settings.min_macro_f1
    passed = value >= limit
    sentence = f"macro-F1 {value:.3f} {'reaches' if passed else 'is below'} the floor {limit:.3f}"
    return Check("macro-F1", value, limit, passed, sentence)


def not_worse(difference: Interval, texts: int, version: str, settings: EvaluateSettings) -> Check:
    """Check for non-inferiority: with the confidence of the settings, the drop from the champion is within the margin.

    Args:
        difference: macro-F1 of challenger minus champion, on the texts of classes that both know.
        texts: number of these texts.
        version: of the champion.
        settings: with the margin.
    """
    passed = difference.low >= -settings.max_drop
    sentence = (
        f"macro-F1 differs by {difference.value:+.3f} from champion {version} ({settings.confidence:.0%} interval "
        f"{difference.low:+.3f} to {difference.high:+.3f}); a drop of more than {settings.max_drop:.3f} is "
        f"{'ruled out' if passed else 'not ruled out'}"
    )
    room = difference.value + settings.max_drop
    if not passed and room > 0:  # an interval's width falls with the square root of the number of texts
        needed = texts * ((difference.value - difference.low) / room) ** 2
        sentence += f" by {texts} test texts; about {needed:,.0f} would do it for this difference"
    return Check("macro-F1 against the champion", difference.low, -settings.max_drop, passed, sentence)


def near_best(best: BestSoFar, settings: EvaluateSettings) -> Check | None:
    """Check that the drops of several releases have not added up to more than the margin.

    The measured drop counts, not the end of its interval: the best of many versions is the best on this test split
    also by luck, so a version that is as good would be refused more and more often.

    Returns:
        None if the two could not be compared.
    """
    if best.drop is None:
        return None
    passed = best.drop <= settings.max_drop
    sentence = (
        f"macro-F1 is {abs(best.drop):.3f} {'below' if best.drop > 0 else 'above'} that of version {best.version}, the "
        f"best so far: the drop that has added up since is {'within' if passed else 'more than'} "
        f"{settings.max_drop:.3f}"
    )
    return Check("macro-F1 against the best so far", -best.drop, -settings.max_drop, passed, sentence)


def class_recall(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """Check that no class that occurs has a recall that is surely below the limit; None when the check is off.

    The confidence of the upper bounds is corrected for the number of classes (Bonferroni), so that a model whose
    classes all reach the limit is refused in no more cases than the settings say, however many classes it has, and
    however few texts they have.
    """
    occurring = [item for item in scores.classes if item.support]
    if not settings.min_class_recall or not occurring:
        return None
    error = (1 - settings.confidence) / 2
    right = [round(item.recall * item.support) for item in occurring]
    bounds = proportions.upper(right, [item.support for item in occurring], error / len(occurring))
    limit = settings.min_class_recall
    below = [index for index in np.argsort(bounds) if bounds[index] < limit]
    if below:
        named = ", ".join(_recall(occurring[index]) for index in below[:RECALLS_NAMED])
        rest = f" and {len(below) - RECALLS_NAMED} more" if len(below) > RECALLS_NAMED else ""
        sentence = f"the recall of {len(below)} of {len(occurring)} classes is surely below {limit:.3f}: {named}{rest}"
    else:
        worst = int(bounds.argmin())
        sentence = (
            f"no class has a recall that is surely below {limit:.3f}; {_recall(occurring[worst])} may have up to "
            f"{bounds[worst]:.3f} ({1 - error:.0%} confidence over {len(occurring)} classes)"
        )
    return Check("lowest recall of a class", float(bounds.min()), limit, not below, sentence)


def _recall(score: ClassScore) -> str:
    return f"{score.label} ({score.recall:.3f} on {score.support} texts)"


def slices(found: list[Slice], settings: EvaluateSettings) -> Check | None:
    """Check that no slice of the test split is surely much worse than the whole; None when the check is off.

    Args:
        found: the slices of the challenger.
        settings: with the limit.
    """
    if settings.max_slice_drop >= 1 or not found:
        return None
    limit, worst = settings.max_slice_drop, max(found, key=lambda item: item.surely_worse_by)
    passed = worst.surely_worse_by <= limit
    below = max(0.0, worst.surely_worse_by)
    sentence = (
        f"texts whose {worst.by} is {worst.name} have an accuracy ({worst.accuracy.value:.3f} on {worst.texts} texts) "
        f"that is surely {below:.3f} or more below that of all, {'within' if passed else 'more than'} {limit:.3f}"
    )
    return Check("worst slice", worst.surely_worse_by, limit, passed, sentence)


def calibration(scores: Scores, settings: EvaluateSettings) -> Check | None:
    """Check that the calibration error is within the limit; None when the check is off."""
    if settings.max_calibration_error >= 1:
        return None
    value, limit = scores.calibration_error, settings.max_calibration_error
    passed = value <= limit
    sentence = (
        f"the expected calibration error {value:.3f} is {'within' if passed else 'above'} {limit:.3f}; by chance alone "
        f"a calibrated model would have {scores.calibration_error_by_chance:.3f}"
    )
    if scores.calibration_error_unscaled is not None:
        sentence += f", and without its temperature this one has {scores.calibration_error_unscaled:.3f}"
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
