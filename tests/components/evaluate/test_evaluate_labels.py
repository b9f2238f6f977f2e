"""A champion for other labels: it is compared where both can be right, and does not lower the bar elsewhere."""

import numpy as np
import pytest

from slipway.components.evaluate import step
from slipway.components.evaluate.predictions import Answers, Evaluated, Exam
from slipway.components.evaluate.result import ChampionScores, Verdict
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.scores import Indices, score

LABELS = [f"class {number}" for number in range(5)]
TRUTH = np.arange(300) % 5
EXAM = Exam(["text"] * 300, ["text"] * 300, TRUTH, LABELS)
SETTINGS = EvaluateSettings(bootstrap_samples=400)


def model(predicted: Indices, labels: list[str]) -> Evaluated:
    answers = Answers(predicted, np.full(300, 0.9))
    scores = score(TRUTH, predicted, answers.confidence, LABELS)
    return Evaluated(labels, answers, scores, scores)


def right(share: float, seed: int, known: int = 5) -> Indices:
    generator = np.random.default_rng(seed)
    answers = np.where(generator.random(300) < share, TRUTH, (TRUTH + 1) % 5)
    return np.where(known > TRUTH, answers, 5)  # what it does not know it answers with a label that the data lack


def gate(challenger: Evaluated, champion: Evaluated) -> Verdict:
    scores = ChampionScores(
        **dict(champion.scores()),
        version="1",
        same_data=True,
        labels_it_lacks=[label for label in LABELS if label not in champion.labels],
        labels_now_gone=[label for label in champion.labels if label not in LABELS],
    )
    _, difference = step._intervals(EXAM, challenger, champion, SETTINGS)
    return step._gate(challenger, (scores, difference, None), [], None, SETTINGS)


def test_a_new_class_does_not_hide_a_loss_on_the_others() -> None:
    champion = model(right(0.95, 1, known=4), LABELS[:4])
    assert not gate(model(right(0.8, 2), LABELS), champion).passed
    assert gate(model(right(0.95, 3), LABELS), champion).passed


@pytest.mark.parametrize(("share", "passed"), [(0.45, False), (0.9, True)])
def test_where_all_labels_are_others_the_floor_decides(share: float, passed: bool) -> None:
    champion = model(np.full(300, 5), ["old a", "old b"])
    found = gate(model(right(share, 4), LABELS), champion)
    assert found.passed is passed
    assert any("the floor" in words for words in found.reasons)
