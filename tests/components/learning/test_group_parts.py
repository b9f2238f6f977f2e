"""Groups of texts are divided as wholes, with each class in its shares."""

import random
from collections import Counter

import pytest

from slipway.components.learning.group_parts import divide

SHARES = [0.65, 0.15, 0.2]


def grouped(texts: int, classes: int, groups: int) -> tuple[list[int], list[int]]:
    """Class and group of each text: some groups are large, and half of the texts of a group are of one class."""
    chance = random.Random(3)
    group_ids = [min(int(chance.expovariate(4 / groups)), groups - 1) for _ in range(texts)]
    return [group % classes if chance.random() < 0.5 else chance.randrange(classes) for group in group_ids], group_ids


@pytest.mark.parametrize(("texts", "classes", "groups"), [(400, 2, 60), (1000, 5, 100), (600, 12, 600)])
def test_groups_stay_whole_and_classes_have_their_shares(texts: int, classes: int, groups: int) -> None:
    labels, group_ids = grouped(texts, classes, groups)
    parts = divide(labels, group_ids, SHARES, seed=1)
    assert len(set(zip(group_ids, parts, strict=True))) == len(set(group_ids))
    counts, totals = Counter(zip(parts, labels, strict=True)), Counter(labels)
    for part, share in enumerate(SHARES):
        assert abs(parts.count(part) / texts - share) < 0.01
        assert all(abs(counts[part, label] - share * totals[label]) < 3 for label in totals)


def test_a_class_of_three_groups_is_in_all_parts() -> None:
    labels = [0] * 300 + [1] * 3
    groups = [number // 10 for number in range(300)] + [3, 4, 5]  # its groups are of another class too
    parts = divide(labels, groups, SHARES, seed=1)
    assert sorted(parts[300:]) == [0, 1, 2]


def test_moves_mend_what_the_greedy_pass_leaves_out() -> None:
    labels = [0, 1, 0, 0, 1, 0, 1, 2, 2, 0, 2, 0, 0, 1]
    groups = [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6, 7]
    assert len(set(zip(divide(labels, groups, SHARES, 1), labels, strict=True))) == 9, "every class in every part"


def test_the_division_depends_on_the_seed_alone() -> None:
    labels, groups = grouped(300, 3, 40)
    assert divide(labels, groups, SHARES, 1) == divide(labels, groups, SHARES, 1) != divide(labels, groups, SHARES, 2)
