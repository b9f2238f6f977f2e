"""What the model gives away about its training data: can it be told from an answer that a text was trained on?

The attack compares losses: texts that were trained on tend to have lower ones (Yeom et al. 2018, Privacy risk in
machine learning). It knows the true labels and nothing else, so it is a lower bound on what an attacker can do. As
Carlini et al. (2022, Membership inference attacks from first principles) ask, not only the average is told but also how
many members are found when hardly any other text is accused.
"""

import numpy as np
import numpy.typing as npt

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier, softmax
from slipway.components.evaluate.result import Membership
from slipway.components.learning.scores import Floats, Indices

FALSE_ALARMS = 0.01


def attack(classifier: Classifier, data: TextDataset, most: int, seed: int) -> Membership:
    """Attack a model with up to `most` training texts, drawn at random, and as many test texts."""
    generator = np.random.default_rng(seed)
    losses = []
    for split in ("train", "test"):
        texts, label_ids = data.texts(split), data.label_ids(split)
        chosen = generator.permutation(len(texts))[:most]
        logits = classifier.logits([texts[index] for index in chosen])
        losses.append(_losses(softmax(logits), label_ids[chosen]))
    return told_apart(*losses)


def told_apart(members: Floats, others: Floats) -> Membership:
    """How well a threshold on the loss tells members from others.

    Args:
        members: losses of texts that were trained on.
        others: losses of texts that were not.
    """
    thresholds = np.unique(np.concatenate([members, others]))
    found = np.searchsorted(np.sort(members), thresholds, side="right") / len(members)
    accused = np.searchsorted(np.sort(others), thresholds, side="right") / len(others)
    below = np.searchsorted(np.sort(others), members, side="left")
    equal = np.searchsorted(np.sort(others), members, side="right") - below
    auc = 1 - float((below + equal / 2).mean()) / len(others)
    allowed = found[accused <= FALSE_ALARMS]
    return Membership(
        auc=auc,
        advantage=float(max(0.0, (found - accused).max())),
        found_at_1_percent=float(allowed.max()) if len(allowed) else 0.0,
        members=len(members),
        others=len(others),
    )


def _losses(probabilities: npt.NDArray[np.float32], label_ids: Indices) -> Floats:
    """Cross-entropy in nats, shape (texts,)."""
    right = probabilities[np.arange(len(label_ids)), label_ids].astype(np.float64)
    return -np.log(np.maximum(right, np.finfo(np.float32).tiny))
