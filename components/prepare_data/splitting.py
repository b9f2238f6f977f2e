"""Divide the examples of each class among the splits."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from slipway.components.artifacts.dataset import SPLITS
from slipway.components.prepare_data.formats import Example


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """Shuffle examples. The order depends on the seed and the texts, not on the order of the source."""
    return sorted(examples, key=lambda example: hashlib.sha256(f"{seed} {example.text}".encode()).digest())


def apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide `count` examples among splits by largest remainders (Hamilton's method).

    Every split gets at least one example, as far as there are enough.

    Args:
        count: number of examples.
        shares: name of each split to its share; the shares need not add up to 1.

    Returns:
        Name of each split to its number of examples.
    """
    total = sum(shares.values())
    quotas = {name: count * share / total for name, share in shares.items()}
    seats = {name: int(quota + 1e-9) for name, quota in quotas.items()}  # 1e-9: a quota of 3 may be 2.999…
    by_remainder = sorted(quotas, key=lambda name: (seats[name] - quotas[name], -quotas[name]))
    for name in by_remainder[: count - sum(seats.values())]:
        seats[name] += 1
    for name in seats:
        richest = max(seats, key=lambda split: seats[split])
        if not seats[name] and seats[richest] > 1:
            seats[richest] -= 1
            seats[name] = 1
    return seats


def split(examples: Sequence[Example], shares: Mapping[str, float]) -> dict[str, list[Example]]:
    """Divide the examples of each class among the splits by their shares. Each split keeps the order of the examples.

    Splits that the source has are kept. Splits that it lacks are taken from its training split.
    """
    ready = {example.split for example in examples} - {""}
    open_shares = {name: share for name, share in shares.items() if name == "train" or name not in ready}
    classes: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        if example.split in ("", "train"):
            classes[example.label].append(index)
    split_of = {index: example.split for index, example in enumerate(examples)}
    for indices in classes.values():
        remaining = iter(indices)
        for name, count in apportion(len(indices), open_shares).items():
            split_of.update((next(remaining), name) for _ in range(count))
    splits: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for index, example in enumerate(examples):
        splits[split_of[index]].append(example._replace(split=split_of[index]))
    return splits
