"""Divide the examples of every class among the splits."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from slipway.components.artifacts.dataset import SPLITS
from slipway.components.prepare_data.formats import Example


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """An order that depends on the seed and the texts alone, not on the order of the source."""
    return sorted(examples, key=lambda example: hashlib.sha256(f"{seed} {example.text}".encode()).digest())


def apportion(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Largest-remainder (Hamilton) apportionment of `count` examples, at least one to every split while they last."""
    total = sum(shares.values())
    quotas = {name: count * share / total for name, share in shares.items()}
    seats = {name: int(quota + 1e-9) for name, quota in quotas.items()}
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
    """The examples by split, in their order; each class is divided by the shares.

    Splits that the source has are kept; only those that it lacks are taken from its training split.
    """
    ready = {example.split for example in examples} - {""}
    wanted = {name: share for name, share in shares.items() if name == "train" or name not in ready}
    classes: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        if example.split in ("", "train"):
            classes[example.label].append(index)
    chosen = {index: example.split for index, example in enumerate(examples)}
    for members in classes.values():
        rest = iter(members)
        for name, count in apportion(len(members), wanted).items():
            chosen.update((next(rest), name) for _ in range(count))
    splits: dict[str, list[Example]] = {name: [] for name in SPLITS}
    for index, example in enumerate(examples):
        splits[chosen[index]].append(example._replace(split=chosen[index]))
    return splits
