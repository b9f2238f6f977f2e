"""Whether training texts can be recognised."""

from pathlib import Path

import numpy as np
import pytest

from components.classifier import Classifier
from components.dataset import TextDataset, write_dataset
from components.evaluate import gate
from components.evaluate.membership import Membership, attack, told_apart
from components.evaluate.settings import EvaluateSettings


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
