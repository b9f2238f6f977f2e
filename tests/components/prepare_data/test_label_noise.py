"""Wrong labels are found by confident learning, and clean data raise few suspicions."""

import numpy as np
import pytest

from slipway.components.prepare_data import label_noise
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings
from tests.components.present import present
from tests.conftest import messages

LABELS = ["billing", "delivery", "account"]
SETTINGS = DataSettings()


def examples(count: int, wrong: int) -> tuple[list[Example], set[str]]:
    """Texts whose labels are right but for some, and the texts of these."""
    texts, topics = messages(count, 1)
    flipped = set(np.random.default_rng(2).choice(count, wrong, replace=False).tolist())
    return [
        Example(text, LABELS[(topic + (number in flipped)) % 3])
        for number, (text, topic) in enumerate(zip(texts, topics, strict=True))
    ], {texts[number] for number in flipped}


def test_wrong_labels_are_listed_with_a_better_one_and_their_share_is_estimated() -> None:
    rows, flipped = examples(600, 30)
    found = present(label_noise.search(rows, LABELS, SETTINGS))
    listed = {item.text for item in found.suspicious}
    assert len(listed & flipped) >= 0.9 * 30
    assert len(listed - flipped) <= 1
    assert found.share == pytest.approx(0.05, abs=0.02)
    assert set(found.classes) == set(LABELS)
    assert found.accuracy == pytest.approx(0.95, abs=0.02)
    right = {text: LABELS[topic] for text, topic in zip(*messages(600, 1), strict=True)}
    assert all(item.suggested == right[item.text] != item.label for item in found.suspicious if item.text in flipped)
    margins = [item.margin for item in found.suspicious]
    assert margins == sorted(margins, reverse=True)


def test_right_labels_are_not_suspected() -> None:
    found = present(label_noise.search(examples(300, 0)[0], LABELS, SETTINGS))
    assert (found.suspicious_count, found.share) == (0, 0)


def test_the_search_is_bounded_and_can_be_switched_off() -> None:
    rows, _ = examples(300, 24)
    assert present(label_noise.search(rows, LABELS, DataSettings(label_noise_texts=90))).texts == 90
    assert label_noise.search(rows, LABELS, DataSettings(label_noise_texts=0)) is None
    assert label_noise.search(rows, [*LABELS, "rare"], SETTINGS) is None


def test_a_class_is_suspected_by_its_own_threshold() -> None:
    """The model is never sure of the first of two classes: 0.4 is much for it, and 0.6 is little for the other."""
    first = np.array([0.4, 0.4, 0.3, 0.1, 0.1, 0.4])
    given = np.array([0, 0, 0, 1, 1, 1])
    found = label_noise.confident(np.stack([first, 1 - first], axis=1), given)
    assert found.suggested.tolist() == [0, 0, 0, 1, 1, 0]
    assert found.shares.tolist() == [0, pytest.approx(1 / 3)]
