"""Which version is the best so far, and how a challenger is compared with it."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.errors import BadInput
from slipway.components.evaluate import best
from slipway.components.evaluate.predictions import Answers, Evaluated, Exam
from slipway.components.learning.scores import score
from slipway.components.platforms.model_registry import Version, labels_digest

LABELS = ["billing", "delivery"]
EXAM = Exam(["text"] * 4, ["text"] * 4, np.array([0, 0, 1, 1]), LABELS)


@pytest.fixture
def data(tmp_path: Path) -> TextDataset:
    return write_dataset(tmp_path / "data", dict.fromkeys(("train", "validation", "test"), (["a"], [0])), LABELS, {})


def version(number: str, macro_f1: str, labels: list[str] | None = None, **tags: str) -> Version:
    if labels:
        tags["labels_digest"] = labels_digest(labels)
    return Version(number, f"/bundles/{number}", "sha256:0", {"test_macro_f1": macro_f1, **tags})


def gone(version: Version, _: Path) -> NoReturn:
    raise BadInput(f"{version.bundle_uri} does not exist")


def evaluated(labels: list[str], predicted: list[int]) -> Evaluated:
    answers = Answers(np.array(predicted), np.full(4, 0.9))
    scores = score(EXAM.truth, answers.predicted, answers.confidence, LABELS)
    return Evaluated(labels, answers, scores, scores)


def test_the_best_is_the_highest_score_at_registration_among_versions_with_these_labels(data: TextDataset) -> None:
    versions = [
        version("1", "0.91"),  # of an earlier release, which wrote no digest of the labels
        version("2", "0.93", LABELS[::-1]),
        version("3", "0.99", ["spam", "ham"]),
        version("4", "0.92", LABELS),
        version("5", ""),
        version("6", "nan"),
        version("10", "0.93", LABELS),
    ]
    found = best.best_of(versions, data)
    assert found
    assert found.version == "10", "of two that are as good, the later one"
    assert best.best_of([], data) is None
    assert best.best_of([version("5", ""), Version("6", "", "", {})], data) is None


def test_a_version_that_was_tested_on_this_split_is_not_loaded_again(data: TextDataset) -> None:
    tested = version("2", "0.93", LABELS, dataset_digest=data.digest)
    found = best.compared(tested, 0.9, None, EXAM, data, gone)
    assert (found.macro_f1, found.same_data) == (0.93, True)
    assert found.drop == pytest.approx(0.03)


def test_a_best_version_whose_bundle_is_gone_is_told_in_one_line(data: TextDataset) -> None:
    found = best.compared(version("2", "0.93", LABELS), 0.9, None, EXAM, data, gone)
    assert (found.macro_f1, found.drop) == (None, None)
    assert found.why_not == "its bundle cannot be used (/bundles/2 does not exist)"


def test_a_champion_that_is_the_best_is_not_loaded_twice(data: TextDataset) -> None:
    champion = evaluated(LABELS, [0, 0, 1, 1])
    found = best.compared(version("2", "0.93", LABELS), 0.9, champion, EXAM, data, gone)
    assert (found.macro_f1, found.same_data) == (1, False)
    assert found.drop == pytest.approx(0.1)
    other = best.compared(version("2", "0.93"), 0.9, evaluated(["spam"], [2, 2, 2, 2]), EXAM, data, gone)
    assert (other.drop, other.why_not) == (None, "it answers other labels")


def test_a_bundle_of_an_earlier_release_with_other_labels_is_not_compared(
    data: TextDataset, draft_bundle: Path
) -> None:
    found = best.compared(version("2", "0.93"), 0.9, None, EXAM, data, lambda *_: Bundle(draft_bundle))
    assert found.why_not == "it answers other labels"
