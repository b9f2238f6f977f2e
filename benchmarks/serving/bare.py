"""What ONNX Runtime does without any server: the yardstick of one. `python -m benchmarks.serving.bare BUNDLE TEXTS`"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from components.classifier import Classifier
from serving.limits import Limits

ROUNDS_S = 6.0


def measure(bundle: Path, texts: list[str]) -> dict[str, float]:
    """`p50_ms` of one text (tokenised and computed), `texts_per_s` in ideal batches: sorted by length, no waiting."""
    classifier = Classifier(bundle)
    classifier.logits(texts[:64])
    single = []
    end = time.perf_counter() + ROUNDS_S
    while time.perf_counter() < end:
        text = texts[len(single) % len(texts)]
        began = time.perf_counter()
        classifier.run([classifier.tokenizer.encode(text)])
        single.append(1000 * (time.perf_counter() - began))
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < ROUNDS_S:
        done += _all(classifier, texts)
    return {"p50_ms": float(np.median(single)), "texts_per_s": done / (time.perf_counter() - began)}


def _all(classifier: Classifier, texts: list[str]) -> int:
    """Every text once, in batches of the server's own token budget."""
    encodings = sorted(classifier.tokenizer.encode_batch_fast(texts), key=len)
    budget, batch = Limits().batch_tokens, []
    for encoding in encodings:
        if batch and len(encoding) * (len(batch) + 1) > budget:
            classifier.run(batch)
            batch = []
        batch.append(encoding)
    classifier.run(batch)
    return len(texts)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text("utf-8")))))
