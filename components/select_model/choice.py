"""The one-standard-error rule: choose the cheapest candidate whose mean score is within one standard error of the best.

Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees, section 3.4.3; Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, section 7.10.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import JsonValue

from slipway.components.select_model.result import FoldScore, Summary


def summarise(name: str, changes: dict[str, JsonValue], scores: Sequence[FoldScore]) -> Summary:
    """Summarise a candidate over its folds.

    Args:
        name: of the candidate.
        changes: settings that it changes.
        scores: of its folds, at least two.
    """
    macro_f1 = [score.macro_f1 for score in sorted(scores, key=lambda score: score.fold)]
    deviation = statistics.stdev(macro_f1)
    return Summary(
        name=name,
        changes=changes,
        macro_f1=macro_f1,
        mean=statistics.fmean(macro_f1),
        deviation=deviation,
        standard_error=deviation / len(macro_f1) ** 0.5,
        accuracy=statistics.fmean(score.accuracy for score in scores),
        seconds=statistics.fmean(score.seconds for score in scores),
        parameters=scores[0].parameters,
        tokens=sum(score.tokens for score in scores),
    )


class Choice(NamedTuple):
    """Indices of summaries, and the least mean macro-F1 that counts as good as the best."""

    best: int
    chosen: int
    threshold: float


def one_standard_error(summaries: Sequence[Summary]) -> Choice:
    """Choose the cheapest of the candidates whose mean is within one standard error of the best mean.

    The cheapest has the fewest parameters; of equal ones that with the fewest tokens to train on, then that with the
    higher mean, then the first. The measured time is not used, so that the same seed gives the same choice on a busy
    machine.
    """
    best = max(range(len(summaries)), key=lambda index: (summaries[index].mean, -index))
    threshold = summaries[best].mean - summaries[best].standard_error
    good = [index for index, summary in enumerate(summaries) if summary.mean >= threshold]
    chosen = min(good, key=lambda i: (summaries[i].parameters, summaries[i].tokens, -summaries[i].mean, i))
    return Choice(best=best, chosen=chosen, threshold=threshold)
