"""A membership inference attack: it measures how well training texts can be recognised by the model's predictions.

The attack compares losses, since texts that were trained on tend to have lower ones (Yeom et al. 2018, Privacy risk in
machine learning). It uses the true labels and nothing else, so real attackers may do better. As Carlini et al. (2022,
Membership inference attacks from first principles) recommend, the result has not only an average, but also the share of
training texts that are found with very few false alarms.
"""

import numpy as np
import numpy.typing as npt

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier, softmax
from slipway.components.evaluate.result import Membership
from slipway.components.learning.scores import Floats, Indices

FALSE_ALARMS = 0.01
"""Share of the other texts that may be taken for training texts in `found_at_1_percent`."""


def attack(classifier: Classifier, data: TextDataset, most: int, seed: int) -> Membership:
    """Attack a model.

    Args:
        classifier: the model.
        data: its dataset.
        most: largest number of training texts, and of test texts, which are drawn at random.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    losses = []
    for split in ("train", "test"):
        texts, label_ids = data.texts(split), data.label_ids(split)
        chosen = generator.permutation(len(texts))[:most]
        logits = classifier.logits([texts[index] for index in chosen])
        losses.append(_losses(softmax(logits), label_ids[chosen]))
    return told_apart(*losses)


def told_apart(members: Floats, others: Floats) -> Membership:
    """Measure how well a threshold on the loss separates members from others.

    Args:
        members: losses of texts that were trained on, shape (texts,).
        others: losses of texts that were not, shape (texts,).
    """
    thresholds = np.unique(np.concatenate([members, others]))
    true_positive_rate = np.searchsorted(np.sort(members), thresholds, side="right") / len(members)
    false_positive_rate = np.searchsorted(np.sort(others), thresholds, side="right") / len(others)
    below = np.searchsorted(np.sort(others), members, side="left")
    equal = np.searchsorted(np.sort(others), members, side="right") - below
    auc = 1 - float((below + equal / 2).mean()) / len(others)
    allowed = true_positive_rate[false_positive_rate <= FALSE_ALARMS]
    return Membership(
        auc=auc,
        advantage=float(max(0.0, (true_positive_rate - false_positive_rate).max())),
        found_at_1_percent=float(allowed.max()) if len(allowed) else 0.0,
        members=len(members),
        others=len(others),
    )


def _losses(probabilities: npt.NDArray[np.float32], label_ids: Indices) -> Floats:
    """Cross-entropy of each text in nats, shape (texts,)."""
    right = probabilities[np.arange(len(label_ids)), label_ids].astype(np.float64)
    return -np.log(np.maximum(right, np.finfo(np.float32).tiny))
