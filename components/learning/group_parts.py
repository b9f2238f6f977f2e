"""Divide groups of texts among parts, so that each group stays whole and each class has its share of every part.

Greedy, the biggest group first, as in the stratification of Sechidis, Tsoumakas and Vlahavas (2011, On the
stratification of multi-label data), then moves of single groups while they help. To divide groups in the best way is
NP-hard; this takes a few passes.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

PASSES = 5
"""Most passes of moves after the greedy one."""
MISSING = 1e9
"""What it costs when a part lacks a class: more than any deviation from the shares."""
GAIN = 1e-6
"""A move that gains less is none; it keeps rounding errors from moving groups to and fro."""


class _Parts:
    """The texts of each class in each part, beside the wanted numbers.

    The cost is the sum of squared deviations, each divided by its wanted number (as in Pearson's chi-squared
    statistic), over classes and over the parts as a whole.
    """

    def __init__(self, classes: Mapping[int, int], shares: Sequence[float]) -> None:
        whole = {**classes, -1: sum(classes.values())}  # -1 stands for all classes
        self.wanted = [{label: count * share for label, count in whole.items()} for share in shares]
        self.texts: list[Counter[int]] = [Counter() for _ in shares]

    def change(self, part: int, group: Mapping[int, int], sign: int) -> float:
        """By how much the cost grows when a group comes to a part (sign 1), or leaves it (sign -1)."""
        texts, wanted, cost = self.texts[part], self.wanted[part], 0.0
        for label, count in group.items():
            before, after = texts[label], texts[label] + sign * count
            cost += (after - before) * (after + before - 2 * wanted[label]) / wanted[label]
            cost += MISSING * ((not after) - (not before))
        return cost

    def cheapest(self, group: Mapping[int, int]) -> int:
        """The part in which a group costs least."""
        return min(range(len(self.texts)), key=lambda part: self.change(part, group, 1))

    def put(self, part: int, group: Mapping[int, int], sign: int) -> None:
        """Put a group into a part (sign 1), or take it out (sign -1)."""
        for label, count in group.items():
            self.texts[part][label] += sign * count


def divide(label_ids: Sequence[int], group_ids: Sequence[int], shares: Sequence[float], seed: int) -> list[int]:
    """The part of each text, as an index into `shares`. Texts of one group have the same part.

    Args:
        label_ids: class of each text.
        group_ids: group of each text.
        shares: wanted share of the texts of each class in each part, above 0; they add up to 1.
        seed: of the order among groups of one size.
    """
    groups: dict[int, Counter[int]] = defaultdict(Counter)
    for label, group in zip(label_ids, group_ids, strict=True):
        groups[group].update((label, -1))
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -groups[group][-1])
    parts = _Parts(Counter(label_ids), shares)
    part_of: dict[int, int] = {}
    for group in order:
        part_of[group] = parts.cheapest(groups[group])
        parts.put(part_of[group], groups[group], 1)
    for _ in range(PASSES):
        if not _moved(parts, groups, order, part_of):
            break
    return [part_of[group] for group in group_ids]


def _moved(parts: _Parts, groups: Mapping[int, Counter[int]], order: Sequence[int], part_of: dict[int, int]) -> bool:
    """Move each group to another part where that costs less; return whether any was moved."""
    moved = False
    for group in order:
        counts, before = groups[group], part_of[group]
        gain = -parts.change(before, counts, -1)
        parts.put(before, counts, -1)
        part = parts.cheapest(counts)
        if parts.change(part, counts, 1) < gain - GAIN:
            part_of[group], moved = part, True
        parts.put(part_of[group], counts, 1)
    return moved
