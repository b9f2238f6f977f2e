"""Stratified folds and draws."""

import numpy as np
import pytest

from slipway.components.errors import BadInput
from slipway.components.select_model.folds import assign_folds, draw

LABEL_IDS = np.random.default_rng(5).choice(4, 203, p=[0.55, 0.3, 0.12, 0.03])


@pytest.mark.parametrize("folds", [2, 3, 10])
def test_classes_and_folds_differ_by_one_text_at_most(folds: int) -> None:
    fold_of = assign_folds(LABEL_IDS, folds, seed=1)
    sizes = [np.bincount(fold_of, minlength=folds)]
    sizes += [np.bincount(fold_of[label == LABEL_IDS], minlength=folds) for label in range(4)]
    assert all(size.max() - size.min() <= 1 for size in sizes)


def test_folds_depend_on_the_seed_alone() -> None:
    assert np.array_equal(assign_folds(LABEL_IDS, 5, seed=1), assign_folds(LABEL_IDS, 5, seed=1))
    assert not np.array_equal(assign_folds(LABEL_IDS, 5, seed=1), assign_folds(LABEL_IDS, 5, seed=2))


@pytest.mark.parametrize("count", [20, 50, 120, 202])
def test_a_draw_keeps_the_shares_of_the_classes_and_every_class(count: int) -> None:
    rows = draw(LABEL_IDS, count, seed=1)
    assert len(rows) == len(set(rows)) == count
    drawn = np.bincount(LABEL_IDS[rows], minlength=4)
    assert drawn.min() >= 1
    assert np.all(np.abs(drawn - np.bincount(LABEL_IDS) * count / len(LABEL_IDS)) <= 1)


@pytest.mark.parametrize("total", range(601, 1400, 7))
def test_a_class_with_a_single_text_is_drawn_with_it(total: int) -> None:
    labels = np.concatenate([[6], np.arange(total - 1) % 6])
    rows = draw(labels, 600, seed=1)
    assert len(rows) == 600
    assert (labels[rows] == 6).sum() == 1


@pytest.mark.parametrize("count", [0, 203, 500])
def test_all_texts_are_used_when_no_fewer_are_asked_for(count: int) -> None:
    assert draw(LABEL_IDS, count, seed=1).tolist() == list(range(203))


def test_groups_are_in_one_fold_each_with_the_classes_in_shares() -> None:
    groups = np.random.default_rng(1).integers(0, 40, 203)
    fold_of = assign_folds(LABEL_IDS, 3, 1, groups)
    assert len({*zip(groups.tolist(), fold_of.tolist(), strict=True)}) == len(set(groups.tolist()))
    for label, size in enumerate(np.bincount(LABEL_IDS)):
        assert np.all(np.abs(np.bincount(fold_of[label == LABEL_IDS], minlength=3) - size / 3) < 3)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1] * 30, "2 groups of training texts are too few for 3 folds; set select.folds to less"),
        ([*range(15), *[99] * 45], "one group has 45 of the 60 texts that select_model compares with"),
    ],
)
def test_groups_that_allow_no_folds_are_refused(groups: list[int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        assign_folds(np.arange(60) % 2, 3, 1, np.array(groups))
