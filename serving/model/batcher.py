"""Dynamic batching: texts of concurrent requests share inferences, and no request waits for a batch to fill up.

While a batch is computed, the next requests queue up. So batches grow with the load, and a lone request starts at once.
A computing thread takes its next batch itself, as soon as the last one is done. So inference never waits for the event
loop, which reads and answers requests meanwhile. Long texts are tokenised in a separate thread, short ones on the event
loop, which takes less time than to hand them over. Tokeniser and ONNX Runtime release the GIL.

A batch has three limits: its tokens, the share of padding among them, and its estimated time (`batch_ms`). A new text
waits for the batch at hand and is then computed, so it takes about two such times while the server keeps up.
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
"""Texts and words of each inference at load. ONNX Runtime allocates memory and prepares kernels at the first use."""
SHORT = 4096
"""Most characters of a request whose texts are tokenised on the event loop."""
PACE = 0.2
"""Weight of the latest batch in the moving average of the time per token."""


@dataclass
class Job:
    """The texts of one request, which may be spread over several batches."""

    logits: Floats
    """Results so far, shape (texts, classes)."""
    result: asyncio.Future[Floats]
    left: int
    """Number of texts without a result."""
    since: float = field(default_factory=time.perf_counter)
    begun: bool = False
    """Whether one of its texts was in a batch."""


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
        limits: limits of the queue and of a batch.
        metrics: metrics of the model.
        drift: measures drift on the answered texts; None for no measurement.
        streams: number of batches that may be computed at the same time.
        wide: the same bundle with more threads, for a batch that is computed alone; None for `classifier` itself.
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
        """Guards `_rows` and `_busy`, which all threads change."""
        self._rows: list[Row] = []
        """Waiting texts, the oldest first."""
        self._busy = 0
        """Number of computing threads that take batches from the rows."""
        self._token_s = 0.0
        """Average seconds for a token, padding included; 0 while unknown."""
        self._admitted = 0
        """Number of texts that are admitted and not answered yet."""

    def warm_up(self) -> None:
        """Run inferences of several shapes, and the last one once more to measure the time per token.

        Raises:
            InferenceFailed: the model raised, or returned unusable numbers.
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
            Overloaded: more texts would wait than the limits allow.
            InferenceFailed: the model failed on one of these texts. Other requests are not affected.
        """
        with self._admission(len(texts)):
            texts, encodings = await self._tokens(list(texts))
            probabilities = softmax(await self._queued(encodings))
        if self.drift:
            self.drift.answered(texts, encodings, probabilities)
        return probabilities

    async def logits(self, encodings: Sequence[Encoded]) -> Floats:
        """Logits of tokenised texts, shape (texts, classes). Raises as `probabilities`."""
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

    async def _tokens(self, texts: list[str]) -> tuple[list[str], Sequence[Encoded]]:
        """The normalised texts, and their tokens."""
        if sum(map(len, texts)) <= SHORT:
            return self._read(texts)
        return await asyncio.get_running_loop().run_in_executor(self._tokenising, self._read, texts)

    def _read(self, texts: list[str]) -> tuple[list[str], Sequence[Encoded]]:
        texts = self.classifier.normalised(texts)
        return texts, self.classifier.tokenizer.encode_batch_fast(texts)

    async def _queued(self, encodings: Sequence[Encoded]) -> Floats:
        """Put texts into the queue and await their logits, shape (texts, classes)."""
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
        """Compute batches until no text waits; runs in a computing thread."""
        while rows := self._next_batch():
            results: list[Floats | InferenceFailed]
            try:
                self._begin(rows)
                results = self._compute(rows)
            except Exception as error:  # otherwise the thread would end, and these requests would wait forever
                logger.error("event=failed in=batcher error=%s", type(error).__name__, exc_info=error)
                results = [InferenceFailed("the model could not process the request")] * len(rows)
            loop.call_soon_threadsafe(self._deliver, rows, results)

    def _compute(self, rows: list[Row]) -> list[Floats | InferenceFailed]:
        """The logits of each row. A batch that fails is repeated text by text, so that only the bad text fails."""
        alone = self._busy == 1 and not self._rows  # no lock: a stale value costs some time, but no wrong result
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
        """Take the oldest waiting text and those nearest to it in length, within the limits of a batch.

        Texts of clients that have disconnected are dropped here, before they cost compute.
        """
        with self._lock:
            waiting = [row for row in self._rows if not row.job.result.done()]
            self.metrics.dropped(len(self._rows) - len(waiting))
            batch = self._fitting(waiting)
            taken = set(map(id, batch))
            self._rows = [row for row in waiting if id(row) not in taken]
            self._busy -= not batch  # within the lock, so that `_queued` starts a thread if this one is about to end
        return batch

    def _fitting(self, rows: list[Row]) -> list[Row]:
        """The rows of the next batch: the first one, and others in the order of their difference in length."""
        budget = self.limits.batch_tokens
        if self._token_s:
            budget = min(budget, int(self.limits.batch_ms / 1000 / self._token_s))
        batch: list[Row] = []
        width = tokens = 0
        for row in sorted(rows, key=lambda row: abs(row.length - rows[0].length)):
            new_width = max(width, row.length)
            padded_tokens = new_width * (len(batch) + 1)
            padding = padded_tokens - tokens - row.length
            if batch and (padded_tokens > budget or padding > self.limits.batch_padding * padded_tokens):
                break
            batch.append(row)
            width, tokens = new_width, tokens + row.length
        return batch

    def _begin(self, rows: list[Row]) -> None:
        """Count a batch, and the waiting time of the requests for which it is the first."""
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
        """Give the results to their jobs; runs on the event loop, since futures are not thread-safe."""
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
