"""The sessions of a model server: how many inferences at a time, with how many threads each.

Two inferences of one thread each do more than one of two threads, which wait for one another after each operator. But a
text that is alone wants all cores. So a busy server computes in as many streams as there are cores, and a batch that
has the machine to itself goes to a second session with all threads, if that has proved faster for this model here.
The operating system places the threads: pinned ones measured slower (benchmarks/serving); the event loop needs a core.
"""

import logging
import time
from dataclasses import dataclass

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.machine.cpu_count import cores

logger = logging.getLogger("serving")
WORTH = 0.85
"""Time of a lone text in the wide session, as a share of that in the narrow one, up to which it is worth its memory."""
WORDS, ROUNDS, RUNS = 24, 3, 5


@dataclass(frozen=True)
class Engine:
    """An opened bundle."""

    classifier: Classifier
    streams: int = 1
    """Inferences at the same time."""
    wide: Classifier | None = None
    """With more threads, for a batch that is alone."""


def open_engine(bundle: Bundle, threads: int = 0) -> Engine:
    """Open a bundle for the cores that this process may use.

    Args:
        bundle: verified.
        threads: of one inference; 0 to find out what is best here.

    Raises:
        BadInput, BundleRefused: see `Classifier`.
    """
    most = cores()
    if threads or most == 1:
        threads = threads or 1
        return Engine(Classifier(bundle, threads), max(1, most // threads))
    narrow, wide = Classifier(bundle, 1), Classifier(bundle, most, spin=True)
    alone, together = _milliseconds(narrow, wide)
    logger.info("event=threads one_thread_ms=%.2f all_threads_ms=%.2f streams=%d", alone, together, most)
    return Engine(narrow, most, wide if together < WORTH * alone else None)


def _milliseconds(*classifiers: Classifier) -> list[float]:
    """Best times for a lone text of usual length: a server that starts beside others is disturbed."""
    encoding = classifiers[0].tokenizer.encode("a " * WORDS)
    times: list[list[float]] = [[] for _ in classifiers]
    for _ in range(ROUNDS):
        for classifier, measured in zip(classifiers, times, strict=True):
            for _ in range(RUNS):
                began = time.perf_counter()
                classifier.run([encoding])
                measured.append(1000 * (time.perf_counter() - began))
    return [min(measured) for measured in times]
