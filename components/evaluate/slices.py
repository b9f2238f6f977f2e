"""Scores on parts of the test split: texts of one length, of one script, or with one value in a column of the data.

A score on the whole hides a part on which a model fails (Chung et al. 2020, Automated data slicing for model
validation). A slice is said to be worse when the upper bound of its accuracy is below the accuracy of all texts. The
bound is corrected for the number of slices, so that many small slices raise no false alarms.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

from slipway.components.evaluate.predictions import Answers, Exam
from slipway.components.evaluate.result import Slice
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning import proportions
from slipway.components.learning.bootstrap import Interval, Resamples, interval
from slipway.components.learning.scores import confusion_matrix, macro_f1

FEWEST_TEXTS = 20
"""Fewest texts of a slice that is shown."""
MOST_VALUES = 10
"""Most slices of one column: those with the most texts."""
NOTEWORTHY = 0.02
"""A slice whose accuracy is surely further below that of all texts is told in words."""
RESAMPLES = 500
"""Most resamples behind the interval of a slice's macro-F1, since there may be dozens of slices."""
LETTERS = 100
"""Letters of a text by which its script is told."""
NO_SCRIPT = "no letters"

Part = tuple[str, str, Sequence[int]]
"""What the texts of a slice have in common, its value, and their rows."""


def scored(
    exam: Exam, answers: Answers, columns: Mapping[str, Sequence[str]], settings: EvaluateSettings
) -> list[Slice]:
    """The scores of a model on the slices of the test split.

    Args:
        exam: the test split.
        answers: of the model.
        columns: of the test split by name, with a value for each text.
        settings: confidence, and resamples of the intervals of macro-F1.
    """
    parts = list(parts_of(exam.texts, columns))
    right = answers.predicted == exam.truth
    error = (1 - settings.confidence) / 2
    slices = []
    for by, name, rows in parts:
        hits = int(right[rows].sum())
        low, high = (bound(hits, len(rows), error) for bound in (proportions.lower, proportions.upper))
        slices.append(
            Slice(
                by=by,
                name=name,
                texts=len(rows),
                accuracy=Interval(hits / len(rows), float(low), float(high)),
                macro_f1=_macro_f1(exam, answers, rows, settings),
                surely_worse_by=float(right.mean() - proportions.upper(hits, len(rows), error / len(parts))),
            )
        )
    return slices


def parts_of(texts: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Iterator[Part]:
    """The slices of texts, those with at least `FEWEST_TEXTS` texts. What all texts have in common is no slice."""
    values = {"length": _length_classes(texts), "script": [script_of(text) for text in texts]} | dict(columns)
    for by, of_texts in values.items():
        counts = Counter(of_texts)
        if len(counts) < 2:
            continue
        names = [name for name, count in counts.most_common(MOST_VALUES) if count >= FEWEST_TEXTS]
        order = dict.fromkeys(of_texts) if by != "length" else dict.fromkeys(sorted(set(of_texts), key=_lower_end))
        for name in order:
            if name in names:
                yield by, name or "empty", [row for row, value in enumerate(of_texts) if value == name]


def _length_classes(texts: Sequence[str]) -> list[str]:
    """For each text, which quarter of the texts by length it belongs to, such as `21 to 40 characters`."""
    lengths = np.array([len(text) for text in texts])
    ends = [int(end) for end in np.unique(np.quantile(lengths, [0.25, 0.5, 0.75, 1], method="higher"))]
    starts = [int(lengths.min()), *(end + 1 for end in ends[:-1])]
    names = [f"{start} to {end} characters" for start, end in zip(starts, ends, strict=True)]
    return [names[index] for index in np.searchsorted(ends, lengths)]


def _lower_end(name: str) -> int:
    return int(name.split()[0])


def script_of(text: str) -> str:
    """The script of most letters at the beginning of a text, such as `Latin`, `Cyrillic` or `CJK`."""
    scripts = Counter(islice(filter(None, map(_script, text)), LETTERS))
    return scripts.most_common(1)[0][0] if scripts else NO_SCRIPT


@lru_cache(maxsize=10_000)
def _script(character: str) -> str:
    """The script of a letter, which is the first word of its name; empty for other characters."""
    if not character.isalpha():
        return ""
    first = unicodedata.name(character, "").partition(" ")[0]
    return first if first == "CJK" else first.capitalize()


def _macro_f1(exam: Exam, answers: Answers, rows: Sequence[int], settings: EvaluateSettings) -> Interval:
    truth, predicted, classes = exam.truth[rows], answers.predicted[rows], len(exam.labels)
    samples = min(settings.bootstrap_samples, RESAMPLES)
    drawn = Resamples(truth, predicted, predicted, classes, samples, settings.seed)
    value = float(macro_f1(confusion_matrix(truth, predicted, classes)))
    return interval(value, drawn.scores("macro_f1")[0], settings.confidence)


def told(slices: Iterable[Slice]) -> list[str]:
    """A sentence for each slice that is surely and noticeably worse than the whole, the worst first."""
    worse = sorted(slices, key=lambda item: -item.surely_worse_by)
    return [
        f"Texts whose {item.by} is {item.name} are recognised less often: accuracy {item.accuracy.value:.3f} on "
        f"{item.texts} texts, surely {item.surely_worse_by:.3f} or more below that of all test texts."
        for item in worse
        if item.surely_worse_by > NOTEWORTHY
    ]
