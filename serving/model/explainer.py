"""Explains the predictions of a model on request, by inferences that go through the batcher.

They go a portion at a time. So they share batches with other requests, and each explanation never has more than one
portion in the queue.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import numpy as np
from kserve.errors import InvalidInput

from slipway.components.explanation.shapley import Explanation, Question, Tokens
from slipway.serving.access.caller import charge, current_caller
from slipway.serving.errors import Overloaded
from slipway.serving.limits import Limits
from slipway.serving.model.batcher import Batcher

PORTION = 32
"""Most inferences that one explanation has in the queue at a time."""
QUEUE_SHARE = 2
"""All explanations together may use 1 / QUEUE_SHARE of the queue."""


class Explainer:
    """Explains the predictions of a batcher's model.

    Args:
        batcher: runs the inferences.
        limits: limits of one request, and of requests at the same time.
    """

    def __init__(self, batcher: Batcher, limits: Limits) -> None:
        self._batcher = batcher
        self._limits = limits
        self._max_requests = max(1, limits.waiting // PORTION // QUEUE_SHARE)
        self._requests: Counter[tuple[str, str]] = Counter()
        """Number of requests at hand, by identity."""

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """Explanations in the order of the texts.

        Raises:
            InvalidInput: there are more texts than the limits allow.
            Overloaded: too many explanations are at hand, or too many texts wait for inference.
            InferenceFailed: the model failed on a text.
        """
        max_texts = self._limits.explained_texts
        if len(texts) > max_texts:
            raise InvalidInput(f"the request has {len(texts)} texts to explain; at most {max_texts} are accepted")
        identity = current_caller().identity
        if self._requests[identity] >= self._limits.explaining:
            raise Overloaded(f"{self._limits.explaining} requests of this caller are being explained; try again later")
        if self._requests.total() >= self._max_requests:
            raise Overloaded("too many requests are being explained; try again later")
        self._requests[identity] += 1
        try:
            return [await self._explained(text) for text in texts]
        finally:
            self._requests[identity] -= 1
            if not self._requests[identity]:
                del self._requests[identity]

    async def _explained(self, text: str) -> Explanation:
        question, rows = await asyncio.to_thread(self._question, text)
        charge(texts=min(PORTION, len(rows)), inferences=len(rows))
        portions = [rows[start : start + PORTION] for start in range(0, len(rows), PORTION)]
        return question.answer(np.concatenate([await self._batcher.logits(portion) for portion in portions]))

    def _question(self, text: str) -> tuple[Question, list[Tokens]]:
        limits, classifier = self._limits, self._batcher.classifier
        question = Question(
            classifier.normalised([text])[0],
            classifier.tokenizer,
            inferences=limits.explanation_inferences,
            words=limits.explained_words,
        )
        return question, question.rows
