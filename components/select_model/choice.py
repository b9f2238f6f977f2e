"""The one-standard-error rule: the cheapest candidate that is as good as the best, as far as the folds can tell.

Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees, section 3.4.3; Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, section 7.10.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import JsonValue

from slipway.components.select_model.result import FoldScore, Summary


def summarise(name: str, changes: dict[str, JsonValue], scores: Sequence[FoldScore]) -> Summary:
    """Mean, deviation and standard error of the macro-F1 over at least two folds; means of the rest."""
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
    """Indices into the summaries, and the least mean that counts as good as the best."""

    best: int
    chosen: int
    threshold: float


def one_standard_error(summaries: Sequence[Summary]) -> Choice:
    """Of the candidates within one standard error of the best mean, the cheapest.

    Cheapest: fewest parameters, then fewest tokens to train on, then the higher mean, then the first. Measured time
    does not decide, so that the same seed makes the same choice on a busy machine.
    """
    best = max(range(len(summaries)), key=lambda index: (summaries[index].mean, -index))
    threshold = summaries[best].mean - summaries[best].standard_error
    good = [index for index, summary in enumerate(summaries) if summary.mean >= threshold]
    chosen = min(good, key=lambda i: (summaries[i].parameters, summaries[i].tokens, -summaries[i].mean, i))
    return Choice(best=best, chosen=chosen, threshold=threshold)
