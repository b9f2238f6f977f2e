"""The one-standard-error rule: choose the cheapest candidate that is behind the best by one standard error at most.

Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees, section 3.4.3; Hastie, Tibshirani and
Friedman 2009, The Elements of Statistical Learning, section 7.10. The error is that of the paired difference: all
candidates have the same folds, and what is hard for both of them does not count.
"""

import statistics
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import NamedTuple

from pydantic import JsonValue

from slipway.components.select_model.result import FoldScore, Summary

MOST_PACKED = 2000
"""Texts of a fold whose answers are passed on. More would not change the standard error to speak of."""


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
        linear_probe=_mean(score.linear_probe for score in scores),
        tfidf=_mean(score.tfidf for score in scores),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def packed(right: Sequence[bool]) -> str:
    """Which answers were right, as hexadecimal digits: a 1 at the front, then one bit for each text.

    The first `MOST_PACKED` texts stand for all, since the pipeline keeps the outputs of its tasks in one object.
    """
    bits = "".join("1" if hit else "0" for hit in right[:MOST_PACKED])
    return f"{int(f'1{bits}', 2):x}"


def unpacked(digits: str) -> list[int]:
    """The bits of `packed`; an empty list of an empty text."""
    return [int(bit) for bit in f"{int(digits, 16):b}"[1:]] if digits else []


def difference_error(scores: Sequence[FoldScore], others: Sequence[FoldScore]) -> float:
    """The standard error of the difference between the mean scores of two candidates.

    It is the larger one of two estimates: from the differences of the folds, which are few, and from the texts on which
    exactly one of the two is right (McNemar), which do not show how much the trainings themselves vary.

    Args:
        scores: of one candidate, in the order of the folds.
        others: of the other one, likewise.
    """
    differences = [score.macro_f1 - other.macro_f1 for score, other in zip(scores, others, strict=True)]
    by_folds = statistics.stdev(differences) / sqrt(len(differences))
    pairs = [
        one - two
        for score, other in zip(scores, others, strict=True)
        for one, two in zip(unpacked(score.right), unpacked(other.right), strict=False)
    ]
    by_texts = statistics.pstdev(pairs) / sqrt(len(pairs)) if pairs else 0.0
    return max(by_folds, by_texts)


def compared(summaries: Sequence[Summary], scores: Sequence[Sequence[FoldScore]]) -> list[Summary]:
    """The summaries with how far each candidate is behind the best one.

    Args:
        summaries: of the candidates.
        scores: of each candidate, one for each fold.
    """
    ordered = [sorted(candidate, key=lambda score: score.fold) for candidate in scores]
    best = best_of(summaries)
    result = []
    for summary, own in zip(summaries, ordered, strict=True):
        behind, error = summaries[best].mean - summary.mean, difference_error(ordered[best], own)
        update = {"behind": behind, "behind_error": error, "as_good": behind <= error}
        result.append(summary.model_copy(update=update))
    return result


def best_of(summaries: Sequence[Summary]) -> int:
    """The index of the candidate with the highest mean; of equal ones the first."""
    return max(range(len(summaries)), key=lambda index: (summaries[index].mean, -index))


class Choice(NamedTuple):
    """Indices of summaries."""

    best: int
    chosen: int


def one_standard_error(summaries: Sequence[Summary]) -> Choice:
    """Choose the cheapest of the candidates that are as good as the best one; see `compared`.

    The cheapest has the fewest parameters; of equal ones that with the fewest tokens to train on, then that with the
    higher mean, then the first. The measured time is not used, so that the same seed gives the same choice on a busy
    machine.
    """
    good = [index for index, summary in enumerate(summaries) if summary.as_good]
    chosen = min(good, key=lambda i: (summaries[i].parameters, summaries[i].tokens, -summaries[i].mean, i))
    return Choice(best=best_of(summaries), chosen=chosen)
