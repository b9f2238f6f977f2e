"""Dynamic batching: the texts of all waiting requests share inferences, without one waiting on purpose.

While one batch is computed the next requests queue up, so batches grow with the load and a lone request starts at once.
The computing threads take their next batch themselves the moment that the last is done, so that inference never waits
for the event loop, which reads and answers requests meanwhile. Long texts are tokenised in a thread of their own, short
ones at once, which takes less than to hand them over. Both libraries release the GIL.

A batch has three bounds: its tokens, the share of them that is padding, and the time that it will take by the pace of
the batches before it, so that a text that comes now is answered within about two such times while the server keeps up.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from slipway.components.artifacts.onnx_classifier import Classifier, Encoded, Floats, softmax
from slipway.serving.errors import InferenceFailed, Overloaded
from slipway.serving.limits import Limits
from slipway.serving.telemetry.drift import Drift
from slipway.serving.telemetry.metrics import ModelMetrics

logger = logging.getLogger("serving")
WARM_UP = ((1, 8), (1, 32), (1, 512), (8, 16), (32, 16))
"""Texts and words of the inferences made at load, so that the first request finds memory and kernels ready."""
SHORT = 4096
"""Characters in all texts of a request that are tokenised without a thread of their own."""
PACE = 0.2
"""Weight of the last batch in the mean time of a token."""


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
        streams: how many batches may be computed at the same time.
        wide: the same bundle with more threads, for a batch that is alone; None for `classifier` itself.
    """

    def __init__(
        self,
        classifier: Classifier,
        limits: Limits,
        metrics: ModelMetrics | None = None,
        drift: Drift | None = None,
        streams: int = 1,
        wide: Classifier | None = None,
    ) -> None:
        self.classifier = classifier
        self._wide = wide or classifier
        self.limits = limits
        self.metrics = metrics or ModelMetrics()
        self.drift = drift
        self._tokenising = ThreadPoolExecutor(1, "tokenise")
        self._computing = ThreadPoolExecutor(streams, "compute")
        self._streams = streams
        self._lock = threading.Lock()
        """Guards the two that all threads change."""
        self._rows: list[Row] = []
        self._busy = 0
        """Computing threads that look after the rows."""
        self._token_s = 0.0
        """Seconds that a token takes, padding included; 0 while unknown."""
        self._admitted = 0

    def warm_up(self) -> None:
        """Run inferences of several shapes, the last once more to learn the pace.

        Raises:
            InferenceFailed: the model cannot answer them.
        """
        for texts, words in WARM_UP:
            encoding = self.classifier.tokenizer.encode("a " * words)
            for classifier in {self._wide, self.classifier}:
                self._logits(classifier, [encoding] * texts)
        began = time.perf_counter()
        self._logits(self.classifier, [encoding] * texts)
        self._token_s = (time.perf_counter() - began) / (texts * len(encoding))

    async def probabilities(self, texts: Sequence[str]) -> Floats:
        """Class probabilities, shape (texts, classes).

        Raises:
            Overloaded: more texts are waiting than the limits allow.
            InferenceFailed: the model raised on one of these texts; other requests are not affected.
        """
        with self._admission(len(texts)):
            encodings = await self._tokens(list(texts))
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

    async def _tokens(self, texts: list[str]) -> Sequence[Encoded]:
        encode = self.classifier.tokenizer.encode_batch_fast
        if sum(map(len, texts)) <= SHORT:
            return encode(texts)
        return await asyncio.get_running_loop().run_in_executor(self._tokenising, encode, texts)

    async def _queued(self, encodings: Sequence[Encoded]) -> Floats:
        """Wait in line; logits, shape (texts, classes)."""
        loop = asyncio.get_running_loop()
        logits = np.zeros((len(encodings), len(self.classifier.labels)), dtype=np.float32)
        job = Job(logits, loop.create_future(), len(encodings))
        with self._lock:
            self._rows.extend(Row(encoding, job, index) for index, encoding in enumerate(encodings))
            idle = self._busy < self._streams
            self._busy += idle
        if idle:
            self._computing.submit(self._work, loop)
        return await job.result

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a computing thread: compute batches until nothing waits."""
        while rows := self._next_batch():
            results: list[Floats | InferenceFailed]
            try:
                self._begin(rows)
                results = self._compute(rows)
            except Exception as error:  # it must not end the stream, nor leave these without an answer
                logger.error("event=failed in=batcher error=%s", type(error).__name__, exc_info=error)
                results = [InferenceFailed("the model could not process the request")] * len(rows)
            loop.call_soon_threadsafe(self._deliver, rows, results)

    def _compute(self, rows: list[Row]) -> list[Floats | InferenceFailed]:
        """The logits of each row; a batch that fails is repeated text by text, so that a bad text fails alone."""
        alone = self._busy == 1 and not self._rows
        classifier = self._wide if alone else self.classifier
        began = time.perf_counter()
        try:
            logits = self._logits(classifier, [row.encoding for row in rows])
        except InferenceFailed as failure:
            return [failure] if len(rows) == 1 else [self._compute([row])[0] for row in rows]
        if classifier is self.classifier:
            pace = (time.perf_counter() - began) / (len(rows) * max(1, *(row.length for row in rows)))
            self._token_s += PACE * (pace - self._token_s) if self._token_s else pace
        return list(logits)

    def _next_batch(self) -> list[Row]:
        """Take the oldest waiting text and those nearest to it in length, within the bounds of a batch.

        Texts whose client has gone are dropped here, before they cost compute.
        """
        with self._lock:
            wanted = [row for row in self._rows if not row.job.result.done()]
            self.metrics.dropped(len(self._rows) - len(wanted))
            batch = self._fitting(wanted)
            taken = set(map(id, batch))
            self._rows = [row for row in wanted if id(row) not in taken]
            self._busy -= not batch
        return batch

    def _fitting(self, rows: list[Row]) -> list[Row]:
        budget = self.limits.batch_tokens
        if self._token_s:
            budget = min(budget, int(self.limits.batch_ms / 1000 / self._token_s))
        batch: list[Row] = []
        width = tokens = 0
        for row in sorted(rows, key=lambda row: abs(row.length - rows[0].length)):
            wider = max(width, row.length)
            whole = wider * (len(batch) + 1)
            padding = whole - tokens - row.length
            if batch and (whole > budget or padding > self.limits.batch_padding * whole):
                break
            batch.append(row)
            width, tokens = wider, tokens + row.length
        return batch

    def _begin(self, rows: list[Row]) -> None:
        """Count a batch, and the wait of the requests whose first it is."""
        self.metrics.batch([row.length for row in rows])
        now = time.perf_counter()
        for row in rows:
            if not row.job.begun:
                row.job.begun = True
                self.metrics.waited(now - row.job.since)

    def _logits(self, classifier: Classifier, encodings: Sequence[Encoded]) -> Floats:
        try:
            logits = classifier.run(encodings)
        except Exception as error:  # ONNX Runtime's classes are not documented
            logger.error("event=inference_failed texts=%d error=%s", len(encodings), _first_line(error))
            raise InferenceFailed("the model could not process the request") from error
        if logits.shape != (len(encodings), len(self.classifier.labels)) or not np.isfinite(logits).all():
            logger.error("event=inference_failed texts=%d error=logits_unusable shape=%s", len(encodings), logits.shape)
            raise InferenceFailed("the model could not process the request")
        return logits

    @staticmethod
    def _deliver(rows: list[Row], results: list[Floats | InferenceFailed]) -> None:
        """On the event loop: hand out the logits."""
        for row, result in zip(rows, results, strict=True):
            job = row.job
            if job.result.done():
                continue
            if isinstance(result, InferenceFailed):
                job.result.set_exception(result)
                continue
            job.logits[row.index] = result
            job.left -= 1
            if job.left == 0:
                job.result.set_result(job.logits)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
