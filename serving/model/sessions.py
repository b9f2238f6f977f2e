"""Opens the ONNX Runtime sessions of a model server: how many inferences run at a time, with how many threads each.

Two inferences with one thread each compute more than one inference with two threads, which wait for each other after
each operator. But a single text is faster with all cores. So a busy server runs as many inferences as there are cores,
with one thread each. A batch that is computed alone goes to a second session with all threads, if that was faster in a
measurement at load. Threads are not pinned to cores, which was slower (benchmarks/serving): the event loop needs a core
too.
"""

import logging
import time
from dataclasses import dataclass

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.machine.cpu_count import cores

logger = logging.getLogger("serving")
WORTH = 0.85
"""The wide session is kept if it takes less than this share of the narrow one's time for a single text. It costs the
model's memory once more."""
WORDS, ROUNDS, RUNS = 24, 3, 5
"""Words of the text for the measurement, its rounds, and the inferences in each round."""


@dataclass(frozen=True)
class Engine:
    """The sessions of an opened bundle."""

    classifier: Classifier
    """The narrow session."""
    streams: int = 1
    """Number of inferences at the same time."""
    wide: Classifier | None = None
    """A session with more threads, for a batch that is computed alone; None for none."""


def open_engine(bundle: Bundle, threads: int = 0) -> Engine:
    """Open a bundle for the cores that this process may use.

    Args:
        bundle: verified bundle in memory.
        threads: threads of one inference; 0 to measure what is best here.

    Raises:
        BadInput, BundleRefused: see `Classifier`.
    """
    core_count = cores()
    if threads or core_count == 1:
        threads = threads or 1
        return Engine(Classifier(bundle, threads), max(1, core_count // threads))
    narrow, wide = Classifier(bundle, 1), Classifier(bundle, core_count, spin=True)
    narrow_ms, wide_ms = _milliseconds(narrow, wide)
    logger.info("event=threads one_thread_ms=%.2f all_threads_ms=%.2f streams=%d", narrow_ms, wide_ms, core_count)
    return Engine(narrow, core_count, wide if wide_ms < WORTH * narrow_ms else None)


def _milliseconds(*classifiers: Classifier) -> list[float]:
    """The best time of each classifier for one text of usual length, in milliseconds.

    The best of several times in turn, since other processes disturb a server that starts.
    """
    encoding = classifiers[0].tokenizer.encode("a " * WORDS)
    times: list[list[float]] = [[] for _ in classifiers]
    for _ in range(ROUNDS):
        for classifier, measured in zip(classifiers, times, strict=True):
            for _ in range(RUNS):
                began = time.perf_counter()
                classifier.run([encoding])
                measured.append(1000 * (time.perf_counter() - began))
    return [min(measured) for measured in times]
