"""The one-standard-error rule: the cheapest candidate that is as good as the best, as far as the folds can tell.

Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees, section 3.4.3; Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, section 7.10.
"""

import statistics
from collections.abc import Sequence
from typing import Any, TypedDict


class FoldScore(TypedDict):
    """One training of cross-validation."""

    candidate: str
    fold: int
    macro_f1: float
    accuracy: float
    seconds: float
    """Of the training alone."""
    parameters: int
    tokens: int
    """Tokens that the training passed through the model, without padding."""


class Summary(TypedDict):
    """A candidate over all folds; scores from 0 to 1."""

    name: str
    changes: dict[str, Any]
    macro_f1: list[float]
    mean: float
    deviation: float
    """Sample standard deviation over the folds."""
    standard_error: float
    accuracy: float
    seconds: float
    parameters: int
    tokens: int


def summarise(name: str, changes: dict[str, Any], scores: Sequence[FoldScore]) -> Summary:
    """Mean, deviation and standard error of the macro-F1 over at least two folds; means of the rest."""
    macro_f1 = [score["macro_f1"] for score in sorted(scores, key=lambda score: score["fold"])]
    deviation = statistics.stdev(macro_f1)
    return Summary(
        name=name,
        changes=changes,
        macro_f1=macro_f1,
        mean=statistics.fmean(macro_f1),
        deviation=deviation,
        standard_error=deviation / len(macro_f1) ** 0.5,
        accuracy=statistics.fmean(score["accuracy"] for score in scores),
        seconds=statistics.fmean(score["seconds"] for score in scores),
        parameters=int(scores[0]["parameters"]),  # kfp makes whole numbers floats
        tokens=int(sum(score["tokens"] for score in scores)),
    )


class Choice(TypedDict):
    """Indices into the summaries, and the least mean that counts as good as the best."""

    best: int
    chosen: int
    threshold: float


def one_standard_error(summaries: Sequence[Summary]) -> Choice:
    """Of the candidates within one standard error of the best mean, the cheapest.

    Cheapest: fewest parameters, then fewest tokens to train on, then the higher mean, then the first. Measured time
    does not decide, so that the same seed makes the same choice on a busy machine.
    """
    best = max(range(len(summaries)), key=lambda index: (summaries[index]["mean"], -index))
    threshold = summaries[best]["mean"] - summaries[best]["standard_error"]
    good = [index for index, summary in enumerate(summaries) if summary["mean"] >= threshold]
    chosen = min(good, key=lambda i: (summaries[i]["parameters"], summaries[i]["tokens"], -summaries[i]["mean"], i))
    return Choice(best=best, chosen=chosen, threshold=threshold)
