"""An explanation takes many inferences, but few at a time: predictions that come meanwhile do not wait for its end."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.serving.errors import InferenceFailed, Overloaded
from slipway.serving.limits import Limits
from slipway.serving.model.batcher import Batcher
from slipway.serving.model.explainer import PORTION, Explainer

TEXT = "a b c d e f g h i j k l"


class Recorder:
    """A classifier of two classes whose first logit is the number of words that are not masked; it records batches."""

    def __init__(self) -> None:
        self.labels = ["many", "few"]
        words = {word: index for index, word in enumerate(["[MASK]", "[UNK]", "question", *TEXT.split()])}
        self.tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.broken = False
        self.batches: list[list[list[int]]] = []

    def normalised(self, texts: Sequence[str]) -> list[str]:
        return list(texts)

    def run(self, encodings: Sequence[Any]) -> np.ndarray:
        if self.broken:
            raise ValueError("broken")
        self.batches.append([list(encoding.ids) for encoding in encodings])
        return np.array([[sum(map(bool, row)), 0] for row in self.batches[-1]], dtype=np.float32)


def explainer(recorder: Recorder, **limits: int) -> tuple[Explainer, Batcher]:
    bounds = Limits(**limits)
    batcher = Batcher(cast("Classifier", recorder), bounds)  # it needs no more of one
    return Explainer(batcher, bounds), batcher


def test_predictions_that_come_during_an_explanation_are_answered_before_its_end() -> None:
    recorder = Recorder()

    async def both() -> Any:
        subject, batcher = explainer(recorder)
        explaining = asyncio.create_task(subject.explain([TEXT]))
        while not recorder.batches:
            await asyncio.sleep(0)
        await batcher.probabilities(["question"])
        finished = explaining.done()
        return finished, (await explaining)[0]

    finished, told = asyncio.run(both())
    assert not finished
    assert max(len(batch) for batch in recorder.batches) <= PORTION
    assert told.inferences > 3 * PORTION
    np.testing.assert_allclose(told.attributions[:, 0], np.ones(12))  # each word counts for one


def test_explanations_keep_to_the_queues_limit_as_predictions_do() -> None:
    async def ask() -> None:
        await explainer(Recorder(), waiting=PORTION - 1)[0].explain([TEXT])

    with pytest.raises(Overloaded, match="waiting for inference"):
        asyncio.run(ask())


def test_a_place_among_the_explained_is_given_back_after_an_error() -> None:
    recorder = Recorder()

    async def ask() -> None:
        subject, _ = explainer(recorder, explaining=1)
        recorder.broken = True
        with pytest.raises(InferenceFailed):
            await subject.explain(["a"])
        recorder.broken = False
        assert len(await subject.explain(["a", "b"])) == 2

    asyncio.run(ask())
