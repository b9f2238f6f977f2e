"""Explanations on demand: the inferences that they take go through the batcher, a few at a time.

So they share batches with other requests, wait their turn, and never hold up the queue by more than one portion each.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from kserve.errors import InvalidInput

from components.explanation import Explanation, Question, Tokens
from serving.batcher import Batcher
from serving.errors import Overloaded
from serving.limits import Limits

PORTION = 32
"""Inferences that one explanation has in the queue at a time."""


class Explainer:
    """Explains what the model of a batcher answers.

    Args:
        batcher: of the model.
        limits: bounds of one request, and of requests at the same time.
    """

    def __init__(self, batcher: Batcher, limits: Limits) -> None:
        self._batcher = batcher
        self._limits = limits
        self._at_hand = 0

    async def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """Explanations in the order of the texts.

        Raises:
            InvalidInput: more texts than the limits allow.
            Overloaded: too many explanations are at hand, or too many texts wait for inference.
            InferenceFailed: the model raised on a text.
        """
        most = self._limits.explained_texts
        if len(texts) > most:
            raise InvalidInput(f"the request has {len(texts)} texts to explain; at most {most} are accepted")
        if self._at_hand >= self._limits.explaining:
            raise Overloaded(f"{self._at_hand} requests are being explained; try again later")
        self._at_hand += 1
        try:
            return [await self._explained(text) for text in texts]
        finally:
            self._at_hand -= 1

    async def _explained(self, text: str) -> Explanation:
        question, rows = await asyncio.to_thread(self._question, text)
        portions = [rows[start : start + PORTION] for start in range(0, len(rows), PORTION)]
        return question.answer(np.concatenate([await self._batcher.logits(portion) for portion in portions]))

    def _question(self, text: str) -> tuple[Question, list[Tokens]]:
        limits = self._limits
        question = Question(
            text,
            self._batcher.classifier.tokenizer,
            inferences=limits.explanation_inferences,
            words=limits.explained_words,
        )
        return question, question.rows
