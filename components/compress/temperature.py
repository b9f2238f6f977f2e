"""Temperature scaling: the logits of the delivered model are divided by one number, so that its confidence is honest.

The number is fitted on the validation split (Guo et al. 2017, On calibration of modern neural networks). The division
is the last operator of the exported graph. So whatever reads the bundle gets the same probabilities: evaluation, drift
reference, explanations, and model servers of earlier releases. No answer changes, since the order of the logits stays.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from slipway.components.artifacts.bundle import MODEL
from slipway.components.artifacts.onnx_classifier import TEMPERATURE, Classifier, softmax
from slipway.components.compress.result import Calibration
from slipway.components.learning.scores import Floats, Indices, calibration, calibration_by_chance

BOUNDS = (0.1, 10.0)
"""Lowest and highest temperature. Models need 0.5 to 4."""
OUTPUT = "logits"


def calibrate(draft: Path, classifier: Classifier, texts: list[str], truth: Indices) -> Calibration:
    """Fit the temperature of a draft bundle on texts that it was not trained on, and write it into `model.onnx`.

    Args:
        draft: folder of the bundle.
        classifier: the bundle, opened.
        texts: of the validation split.
        truth: their classes, shape (texts,).
    """
    logits = classifier.logits(texts)
    temperature = fitted(logits, truth)
    divide(draft / MODEL, temperature)
    right = logits.argmax(axis=1) == truth
    before, after = (softmax(scaled).max(axis=1) for scaled in (logits, logits / np.float32(temperature)))
    return Calibration(
        temperature=temperature,
        error_before=calibration(before, right)[0],
        error=calibration(after, right)[0],
        error_by_chance=calibration_by_chance(after),
    )


def fitted(logits: Floats, truth: Indices) -> float:
    """The temperature at which the cross-entropy is least, within `BOUNDS`; 1 for logits that are not finite.

    One text in all is counted as one of every class in equal parts, as Platt (1999, Probabilistic outputs for support
    vector machines) does. Otherwise a model without a mistake on the split would become as sure as the bounds allow.

    Args:
        logits: shape (texts, classes).
        truth: true classes, shape (texts,).
    """
    from scipy.optimize import brentq  # slow to import

    if not np.isfinite(logits).all():  # the step evaluate refuses such a model
        return 1.0
    scores = logits.astype(np.float64)
    spread = 1 / (len(truth) + 1)
    wanted = (1 - spread) * scores[np.arange(len(truth)), truth].mean() + spread * scores.mean()

    def slope(log_temperature: float) -> float:
        """The derivative of the cross-entropy by the inverse temperature; it rises with the inverse."""
        probabilities = softmax(scores * np.exp(-log_temperature))
        return float((probabilities * scores).sum(axis=1).mean() - wanted)

    low, high = np.log(BOUNDS)
    if slope(low) <= 0:
        return BOUNDS[0]
    if slope(high) >= 0:
        return BOUNDS[1]
    return float(np.exp(brentq(slope, low, high, xtol=1e-4)))


def divide(path: Path, temperature: float) -> None:
    """Divide the logits of an ONNX model by a temperature, which its metadata then state."""
    model = onnx.load(path)
    graph, inner = model.graph, f"{OUTPUT}/unscaled"
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == OUTPUT:
                    names[index] = inner
    value: npt.NDArray[np.float32] = np.array(temperature, dtype=np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(value, TEMPERATURE))
    graph.node.append(onnx.helper.make_node("Div", [inner, TEMPERATURE], [OUTPUT], TEMPERATURE))
    model.metadata_props.add(key=TEMPERATURE, value=repr(float(value)))
    onnx.save(model, path)
