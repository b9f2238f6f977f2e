"""Dynamic batching: the texts of all waiting requests share inferences, without one waiting on purpose.

While one batch is computed the next requests queue up, so batches grow with the load and a lone request starts at once.
Tokenisation and inference each have a thread of their own (both libraries release the GIL); everything else, the
queue included, lives on the event loop, which therefore needs no locks and stays free for health checks.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from components.classifier import Classifier, Encoded, Floats, softmax
from serving.drift import Drift
from serving.errors import InferenceFailed, Overloaded
from serving.limits import Limits
from serving.metrics import ModelMetrics

logger = logging.getLogger("serving")
WARM_UP = ((1, 8), (1, 32), (1, 512), (8, 16), (32, 16))
"""Texts and words of the inferences made at load, so that the first request finds memory and kernels ready."""


@dataclass
class Job:
    """The texts of one request, which may be spread over several batches."""

    logits: Floats
    result: asyncio.Future[Floats]
    left: int
    since: float = field(default_factory=time.perf_counter)
    begun: bool = False


@dataclass
class Row:
    """One text of a job."""

    encoding: Encoded
    job: Job
    index: int
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.encoding)


class Batcher:
    """Answers concurrent requests with one classifier.

    Args:
        classifier: an opened bundle.
        limits: bounds of the queue and of a batch.
        metrics: of the model.
        drift: looks at the texts that were answered.
    """

    def __init__(
        self,
        classifier: Classifier,
        limits: Limits,
        metrics: ModelMetrics | None = None,
        drift: Drift | None = None,
    ) -> None:
        self.classifier = classifier
        self.limits = limits
        self.metrics = metrics or ModelMetrics()
        self.drift = drift
        self._tokenising = ThreadPoolExecutor(1, "tokenise")
        self._computing = ThreadPoolExecutor(1, "compute")
        self._rows: list[Row] = []
        self._admitted = 0
        self._worker: asyncio.Task[None] | None = None

    def warm_up(self) -> None:
        """Run inferences of several shapes. Raises InferenceFailed when the model cannot answer them."""
        for texts, words in WARM_UP:
            encoding = self.classifier.tokenizer.encode("a " * words)
            self._logits([encoding] * texts)

    async def probabilities(self, texts: Sequence[str]) -> Floats:
        """Class probabilities, shape (texts, classes).

        Raises:
            Overloaded: more texts are waiting than the limits allow.
            InferenceFailed: the model raised on one of these texts; other requests are not affected.
        """
        with self._admission(len(texts)):
            loop = asyncio.get_running_loop()
            encodings = await loop.run_in_executor(
                self._tokenising, self.classifier.tokenizer.encode_batch_fast, list(texts)
            )
            probabilities = softmax(await self._queued(encodings))
        if self.drift:
            self.drift.answered(texts, encodings, probabilities)
        return probabilities

    async def logits(self, encodings: Sequence[Encoded]) -> Floats:
        """Logits of texts that are tokens already, shape (texts, classes). Raises as `probabilities`."""
        with self._admission(len(encodings)):
            return await self._queued(encodings)

    @contextmanager
    def _admission(self, texts: int) -> Iterator[None]:
        if self._admitted + texts > self.limits.waiting:
            raise Overloaded(f"{self._admitted} texts are waiting for inference; try again later")
        self._admit(texts)
        try:
            yield
        finally:
            self._admit(-texts)

    def _admit(self, texts: int) -> None:
        self._admitted += texts
        self.metrics.waiting(self._admitted)

    async def _queued(self, encodings: Sequence[Encoded]) -> Floats:
        """Wait in line; logits, shape (texts, classes)."""
        loop = asyncio.get_running_loop()
        logits = np.zeros((len(encodings), len(self.classifier.labels)), dtype=np.float32)
        job = Job(logits, loop.create_future(), len(encodings))
        self._rows.extend(Row(encoding, job, index) for index, encoding in enumerate(encodings))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await job.result

    async def _work(self) -> None:
        """Compute batches until nothing waits."""
        while rows := self._next_batch():
            try:
                self._deliver(rows, await self._compute(rows))
            except InferenceFailed:
                await self._separately(rows)

    async def _separately(self, rows: list[Row]) -> None:
        """Compute a batch that failed text by text, so that one request's bad text does not fail the others'."""
        for row in rows:
            if row.job.result.done():
                continue
            try:
                self._deliver([row], await self._compute([row]))
            except InferenceFailed as failure:
                if not row.job.result.done():
                    row.job.result.set_exception(failure)

    def _next_batch(self) -> list[Row]:
        """Take the oldest waiting text and those nearest to it in length, up to the token budget.

        Texts whose client has gone are dropped here, before they cost compute.
        """
        wanted = [row for row in self._rows if not row.job.result.done()]
        self.metrics.dropped(len(self._rows) - len(wanted))
        self._rows = wanted
        if not self._rows:
            return []
        oldest = self._rows[0].length
        batch: list[Row] = []
        width = 0
        for row in sorted(self._rows, key=lambda row: abs(row.length - oldest)):
            wider = max(width, row.length)
            if batch and wider * (len(batch) + 1) > self.limits.batch_tokens:
                break
            batch.append(row)
            width = wider
        taken = set(map(id, batch))
        self._rows = [row for row in self._rows if id(row) not in taken]
        return batch

    def _begin(self, rows: list[Row]) -> None:
        """Count a batch, and the wait of the requests whose first it is."""
        self.metrics.batch([row.length for row in rows])
        now = time.perf_counter()
        for row in rows:
            if not row.job.begun:
                row.job.begun = True
                self.metrics.waited(now - row.job.since)

    async def _compute(self, rows: list[Row]) -> Floats:
        self._begin(rows)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._computing, self._logits, [row.encoding for row in rows])

    def _logits(self, encodings: Sequence[Encoded]) -> Floats:
        try:
            logits = self.classifier.run(encodings)
        except Exception as error:  # ONNX Runtime's classes are not documented
            logger.error("event=inference_failed texts=%d error=%s", len(encodings), _first_line(error))
            raise InferenceFailed("the model could not process the request") from error
        if logits.shape != (len(encodings), len(self.classifier.labels)) or not np.isfinite(logits).all():
            logger.error("event=inference_failed texts=%d error=logits_unusable shape=%s", len(encodings), logits.shape)
            raise InferenceFailed("the model could not process the request")
        return logits

    def _deliver(self, rows: list[Row], logits: Floats) -> None:
        for row, values in zip(rows, logits, strict=True):
            row.job.logits[row.index] = values
            row.job.left -= 1
            if row.job.left == 0 and not row.job.result.done():
                row.job.result.set_result(row.job.logits)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
