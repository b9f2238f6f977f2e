"""Simple classifiers that stand beside a fine-tuned model in every table: it has to be worth its cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway.components.learning.scores import Indices
from slipway.components.step_runtime.step_result import ResultPart

LINEAR_PROBE = "linear probe"
TFIDF = "TF-IDF"
MOST_TEXTS = 20_000
"""Training texts that TF-IDF learns from at most: more would take minutes and change the scores little."""


class Baseline(ResultPart):
    """A baseline's scores, from 0 to 1."""

    name: str
    """`linear probe` (logistic regression on the frozen encoder) or `TF-IDF` (logistic regression on words)."""
    macro_f1: float
    """Mean F1 over the classes that occur, on the validation split."""
    accuracy: float
    """Share of right answers on the validation split."""
    test_macro_f1: float | None = None
    """Mean F1 on the test split; no choice depends on it."""
    test_accuracy: float | None = None
    """Share of right answers on the test split."""


def found_in(results: Mapping[str, Any]) -> list[Baseline]:
    """The baselines among the results of a run; none in the results of earlier releases."""
    return [Baseline.model_validate(plain) for plain in results.get("train", {}).get("baselines", [])]


def scored(name: str, truths: Sequence[Indices], answers: Sequence[Indices]) -> Baseline:
    """The scores of a baseline.

    Args:
        name: of the baseline.
        truths: classes of the validation texts and, if there are any, of the test texts.
        answers: the predicted classes, likewise.
    """
    from slipway.components.learning.evaluation import (
        macro_f1,
    )  # it loads PyTorch, which readers of results do not need

    pairs = [
        (macro_f1(truth, answer), float(np.mean(truth == answer)))
        for truth, answer in zip(truths, answers, strict=True)
        if len(truth)
    ]
    test = pairs[1] if len(pairs) > 1 else (None, None)
    return Baseline(name=name, macro_f1=pairs[0][0], accuracy=pairs[0][1], test_macro_f1=test[0], test_accuracy=test[1])


def tfidf_answers(
    texts: Sequence[str], label_ids: Indices, asked: Sequence[Sequence[str]], balanced: bool = False, seed: int = 13
) -> list[Indices]:
    """Classes by logistic regression on the TF-IDF of words and pairs of words.

    Args:
        texts: to learn from; at most `MOST_TEXTS` of them are used.
        label_ids: their classes, shape (texts,).
        asked: lists of texts to classify.
        balanced: whether all classes weigh the same.
        seed: of the draw.

    Returns:
        The predicted classes of each list, shape (texts,).
    """
    # Imported here, since it would add a second to the start of every process.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MOST_TEXTS])
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]")
    words = vectorizer.fit_transform([texts[row] for row in rows])
    model = LogisticRegression(C=10, max_iter=200, class_weight="balanced" if balanced else None)
    model.fit(words, label_ids[rows])
    return [
        np.asarray(model.predict(vectorizer.transform(list(part))), dtype=np.int64)
        if len(part)
        else np.zeros(0, dtype=np.int64)
        for part in asked
    ]
