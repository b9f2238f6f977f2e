"""Splits: every class in every split, by largest remainder, the same for the same seed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.splitting import apportion, shuffled, split

SHARES = {"train": 0.65, "validation": 0.15, "test": 0.2}


@given(st.integers(0, 500), st.floats(0.01, 0.48), st.floats(0.01, 0.48))
def test_shares_are_met_within_one_example(count: int, validation: float, test: float) -> None:
    shares = {"train": 1 - validation - test, "validation": validation, "test": test}
    seats = apportion(count, shares)
    assert sum(seats.values()) == count
    assert count < 3 or min(seats.values()) >= 1
    if count * min(shares.values()) >= 1:
        assert all(abs(seats[name] - count * share) < 1 for name, share in shares.items())


def test_the_largest_remainders_get_the_rest() -> None:
    assert apportion(12, SHARES) == {"train": 8, "validation": 2, "test": 2}
    assert apportion(3, SHARES) == {"train": 1, "validation": 1, "test": 1}
    assert apportion(2, SHARES) == {"train": 1, "validation": 0, "test": 1}


def test_every_class_is_in_every_split_by_its_shares() -> None:
    examples = [
        Example(f"{label} {n}", label) for label, count in (("a", 200), ("b", 20), ("c", 3)) for n in range(count)
    ]
    parts = split(shuffled(examples, 1), SHARES)
    counts = {name: [sum(e.label == label for e in rows) for label in "abc"] for name, rows in parts.items()}
    assert counts == {"train": [130, 13, 1], "validation": [30, 3, 1], "test": [40, 4, 1]}
    assert sorted(e.text for rows in parts.values() for e in rows) == sorted(e.text for e in examples)


def test_the_order_depends_on_the_seed_and_not_on_the_source() -> None:
    examples = [Example(str(number), "a") for number in range(50)]
    assert shuffled(examples, 1) == shuffled(examples[::-1], 1)
    assert shuffled(examples, 1) != shuffled(examples, 2)


@pytest.mark.parametrize("ready", [("train", "test"), ("train", "validation", "test"), ("train",)])
def test_splits_of_the_source_are_kept_and_missing_ones_are_cut_from_training(ready: tuple[str, ...]) -> None:
    examples = [Example(f"{name} {n}", "ab"[n % 2], name) for name in ready for n in range(100)]
    parts = split(examples, SHARES)
    for name in ready:
        if name != "train":
            assert [e.text for e in parts[name]] == [f"{name} {n}" for n in range(100)]
    for name in set(SHARES) - set(ready):
        assert parts[name]
        assert all(e.text.startswith("train") for e in parts[name])
