"""Whether training texts can be recognised."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.evaluate import gate
from slipway.components.evaluate.membership import _losses, attack, told_apart
from slipway.components.evaluate.result import Membership
from slipway.components.evaluate.settings import EvaluateSettings


def test_losses_of_one_distribution_cannot_be_told_apart() -> None:
    generator = np.random.default_rng(0)
    found = told_apart(generator.exponential(size=4000), generator.exponential(size=4000))
    assert found.auc == pytest.approx(0.5, abs=0.02)
    assert found.advantage < 0.05
    assert found.found_at_1_percent < 0.03


def test_losses_that_do_not_overlap_are_told_apart_entirely() -> None:
    found = told_apart(np.full(10, 0.1), np.full(20, 2.0))
    assert (found.auc, found.advantage, found.found_at_1_percent) == (1.0, 1.0, 1.0)
    assert (found.members, found.others) == (10, 20)


def test_the_area_counts_pairs_and_halves_of_equal_ones() -> None:
    assert told_apart(np.array([1.0, 2.0]), np.array([2.0, 3.0])).auc == pytest.approx((2 + 1.5) / 4)


def test_a_model_that_never_saw_the_members_does_not_give_them_away(
    draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    test = small_dataset.texts("test"), small_dataset.label_ids("test").tolist()
    halves = {"train": (test[0][::2], test[1][::2]), "test": (test[0][1::2], test[1][1::2]), "validation": ([], [])}
    unseen = write_dataset(tmp_path / "data", halves, small_dataset.labels, {})
    found = attack(Classifier(draft_bundle), unseen, 100, seed=1)
    assert (found.members, found.others) == (24, 24)
    assert 0.25 < found.auc < 0.75


@pytest.mark.parametrize(("auc", "passes"), [(0.55, True), (0.61, False)])
def test_the_gate_refuses_a_model_that_gives_too_much_away(auc: float, passes: bool) -> None:
    check = gate.membership(Membership(auc, 0.1, 0.02, 100, 100), EvaluateSettings(max_membership_auc=0.6))
    assert check is not None
    assert check.passed is passes


def test_the_check_is_off_unless_a_limit_is_set() -> None:
    assert gate.membership(Membership(0.9, 0.9, 0.9, 100, 100), EvaluateSettings()) is None


def test_the_advantage_and_the_share_found_are_those_of_the_best_threshold() -> None:
    members, others = np.array([0.1, 0.2, 0.3, 2.0]), np.array([0.25, 1.0, 3.0, 4.0])
    found = told_apart(members, others)
    assert found.advantage == pytest.approx(3 / 4 - 1 / 4)
    assert found.found_at_1_percent == 2 / 4
    assert found.auc == pytest.approx((4 + 4 + 3 + 2) / 16)
    assert asdict(found) == {
        "auc": found.auc, "advantage": found.advantage, "found_at_1_percent": 0.5, "members": 4, "others": 4,
    }  # fmt: skip
    worse = told_apart(others, members)
    assert (worse.advantage, worse.found_at_1_percent) == (0.0, 0.0)


def test_a_text_with_the_same_loss_is_accused_as_well_and_a_loss_is_never_infinite() -> None:
    same = told_apart(np.array([1.0]), np.array([1.0]))
    assert (same.advantage, same.found_at_1_percent, same.auc) == (0.0, 0.0, 0.5)
    losses = _losses(np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]], np.float32), np.array([0, 1, 1]))
    assert losses[:2] == pytest.approx([np.log(2), np.log(4)])
    assert 80 < losses[2] < 100


def test_one_of_a_hundred_others_may_be_accused() -> None:
    members, others = np.array([0.5, 1.5, 2.5]), np.arange(1.0, 101.0)
    assert told_apart(members, others).found_at_1_percent == pytest.approx(2 / 3)
    assert told_apart(members, others[:-1]).found_at_1_percent == pytest.approx(1 / 3)


def test_as_many_texts_as_asked_are_attacked_and_drawn_with_the_seed(
    draft_bundle: Path, small_dataset: TextDataset
) -> None:
    classifier = Classifier(draft_bundle)
    found = attack(classifier, small_dataset, 7, seed=1)
    assert (found.members, found.others) == (7, 7)
    assert attack(classifier, small_dataset, 7, seed=1) == found
    everything = attack(classifier, small_dataset, 1000, seed=1)
    assert (everything.members, everything.others) == (120, 48)
    assert attack(classifier, small_dataset, 7, seed=2) != found
