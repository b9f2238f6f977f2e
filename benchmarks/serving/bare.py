"""What ONNX Runtime does without any server: the yardstick of one. `python -m benchmarks.serving.bare BUNDLE TEXTS`"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from slipway.components.artifacts.onnx_classifier import Classifier

SINGLE_S, ROUND_S = 4.0, 2.5
BUDGETS = (128, 256, 512, 1024, 2048)
"""Tokens of an ideal batch, padding included: the best is taken."""
Batches = list[list[Any]]


def measure(bundle: Path, texts: list[str]) -> dict[str, Any]:
    """The best that can be had here.

    Returns:
        `p50_ms` of one text, tokenised and computed, with all cores or one; `texts_per_s` in ideal batches, sorted by
        length and tokenised beforehand, none of which waits; and `batches`, which of the ways to do that was best.
    """
    cores = len(os.sched_getaffinity(0))
    wide, narrow = Classifier(bundle, cores, spin=True), Classifier(bundle, 1)
    rates = {}
    for budget in BUDGETS:
        batches = ideal(wide, texts, budget)
        rates[f"{cores} threads, {budget} tokens"] = len(texts) / _seconds(wide, batches, 1)
        rates[f"{cores} streams of 1 thread, {budget} tokens"] = len(texts) / _seconds(narrow, batches, cores)
    best = max(rates, key=lambda name: rates[name])
    single = min(_single(classifier, texts) for classifier in (wide, narrow))
    return {"p50_ms": single, "texts_per_s": rates[best], "batches": best}


def ideal(classifier: Classifier, texts: list[str], budget: int) -> Batches:
    """All texts in batches, sorted by length."""
    batches: Batches = [[]]
    for encoding in sorted(classifier.tokenizer.encode_batch_fast(texts), key=len):
        if batches[-1] and len(encoding) * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(encoding)
    return batches


def _seconds(classifier: Classifier, batches: Batches, streams: int) -> float:
    """Of one pass over all texts: the mean of as many as fit into the time, after a short one."""
    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(classifier.run, batches[:: len(batches) // 8 or 1]))
        passes, began = 0, time.perf_counter()
        while time.perf_counter() - began < ROUND_S:
            list(pool.map(classifier.run, batches))
            passes += 1
        return (time.perf_counter() - began) / passes


def _single(classifier: Classifier, texts: list[str]) -> float:
    times: list[float] = []
    end = time.perf_counter() + SINGLE_S
    while time.perf_counter() < end:
        text = texts[len(times) % len(texts)]
        began = time.perf_counter()
        classifier.run([classifier.tokenizer.encode(text)])
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text("utf-8")))))
