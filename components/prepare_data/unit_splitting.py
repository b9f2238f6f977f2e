"""Split groups of texts as wholes, or texts by their times."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from slipway.components.errors import BadInput
from slipway.components.learning.group_parts import divide
from slipway.components.prepare_data import splitting
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.split_columns import group_ids
from slipway.components.prepare_data.times import told

Splits = dict[str, list[Example]]

LEAST = 0.5
"""Least part of its share that a split has, and most part by which a cut moves to keep texts of one time together."""


def split(examples: Sequence[Example], settings: DataSettings) -> Splits:
    """Divide examples among the splits as the settings say. Each split keeps the order of the examples.

    Raises:
        BadInput: groups or times allow no splits of about these shares with every class in the training split.
    """
    if settings.time_column:
        splits = by_time(examples, settings.shares, in_groups=bool(settings.group_column))
        _check_training(splits, settings)
    elif settings.group_column:
        splits = by_group(examples, settings.shares, settings.seed)
        _check_classes(splits, settings)
    else:
        return splitting.split(examples, settings.shares)
    _check_sizes(splits, settings)
    return splits


def by_group(examples: Sequence[Example], shares: Mapping[str, float], seed: int) -> Splits:
    """Divide groups among the splits so that each class has about its shares; see `learning.group_parts`."""
    label_of = {label: number for number, label in enumerate(sorted({example.label for example in examples}))}
    labels = [label_of[example.label] for example in examples]
    names = list(shares)
    parts = divide(labels, group_ids(examples), list(shares.values()), seed)
    return _put(examples, (names[part] for part in parts), names)


def by_time(examples: Sequence[Example], shares: Mapping[str, float], in_groups: bool) -> Splits:
    """The newest texts become the test split, the next newest the validation split, and the oldest the training split.

    A cut moves to where the time changes, so that texts of one time stay together, unless it would move far.

    Args:
        examples: at least three, or of three groups.
        shares: of the splits.
        in_groups: whether groups stay whole. The newest text of a group is then its time.
    """
    units: dict[int, list[int]] = defaultdict(list)
    for index, unit in enumerate(group_ids(examples) if in_groups else range(len(examples))):
        units[unit].append(index)
    time_of = {unit: max(examples[index].time for index in rows) for unit, rows in units.items()}
    order = sorted(units, key=lambda unit: (time_of[unit], units[unit][0]))
    ends = [0, *accumulate(len(units[unit]) for unit in order)]
    changes = {place for place in range(1, len(order)) if time_of[order[place - 1]] != time_of[order[place]]}
    wanted = {name: share * len(examples) for name, share in shares.items()}
    test = _cut(ends, changes, range(2, len(order)), len(examples) - wanted["test"], wanted["test"])
    first = min(max(1, bisect_left(ends, LEAST * wanted["train"])), test - 1)
    validation = _cut(ends, changes, range(first, test), ends[test] - wanted["validation"], wanted["validation"])
    split_of = {}
    for place, unit in enumerate(order):
        name = "train" if place < validation else "validation" if place < test else "test"
        split_of.update(dict.fromkeys(units[unit], name))
    return _put(examples, (split_of[index] for index in range(len(examples))), shares)


def _cut(ends: Sequence[int], changes: Iterable[int], places: range, wanted: float, size: float) -> int:
    """The place of a cut: where the time changes, or anywhere if that is too far away.

    Args:
        ends: number of texts before each place.
        changes: places where the time changes.
        places: that are allowed.
        wanted: number of texts that should be before the cut.
        size: number of texts of the split that begins there.
    """
    near = min((place for place in changes if place in places), key=lambda place: abs(ends[place] - wanted), default=0)
    if near and abs(ends[near] - wanted) <= LEAST * size:
        return near
    after = bisect_left(ends, wanted)
    allowed = [min(max(place, places.start), places.stop - 1) for place in (after - 1, after)]
    return min(allowed, key=lambda place: abs(ends[place] - wanted))


def _put(examples: Sequence[Example], names: Iterable[str], splits: Iterable[str]) -> Splits:
    """The examples by split, with the name of the split of each."""
    found: Splits = {name: [] for name in splits}
    for example, name in zip(examples, names, strict=True):
        found[name].append(example._replace(split=name))
    return found


def _check_training(splits: Splits, settings: DataSettings) -> None:
    """Check that there are older and newer texts, and that the training split has every class."""
    examples = [example for rows in splits.values() for example in rows]
    if len({example.time for example in examples}) == 1:
        raise BadInput(
            f"data.time_column={settings.time_column!r} has one time in all rows, {told(examples[0].time)}; name "
            "another column, or none to split at random"
        )
    missing = {example.label for example in examples} - {example.label for example in splits["train"]}
    if missing:
        begins = {label: min(row.time for row in examples if row.label == label) for label in sorted(missing)[:10]}
        listed = ", ".join(f"{label!r} (its texts begin at {told(time)})" for label, time in begins.items())
        raise BadInput(
            f"the training split, the oldest texts by data.time_column={settings.time_column!r}, has no example of "
            f"{listed}; add older texts, leave these classes out, lower data.test_share and data.validation_share, or "
            "split without data.time_column"
        )


def _check_classes(splits: Splits, settings: DataSettings) -> None:
    """Check that every split has every class."""
    labels = sorted({example.label for rows in splits.values() for example in rows})
    for name, rows in splits.items():
        missing = set(labels) - {example.label for example in rows}
        if missing:
            raise BadInput(
                f"no division of the groups of data.group_column={settings.group_column!r} was found in which the "
                f"{name} split has examples of {', '.join(map(repr, sorted(missing)[:10]))}; add texts of other groups "
                "in these classes, or leave the classes out"
            )


def _check_sizes(splits: Splits, settings: DataSettings) -> None:
    """Check that no split is far smaller than its share, as when one group has nearly everything."""
    total = sum(len(rows) for rows in splits.values())
    small = [name for name, rows in splits.items() if len(rows) < LEAST * settings.shares[name] * total]
    if small and settings.group_column:
        groups = Counter(example.group for rows in splits.values() for example in rows if example.group)
        (group, count), *_ = groups.most_common(1) or [("", 1)]
        raise BadInput(
            f"the groups of data.group_column={settings.group_column!r} are too large for the splits: the {small[0]} "
            f"split would have {len(splits[small[0]])} of {total} texts, and its share is "
            f"{settings.shares[small[0]]:.0%}; the largest group, {group!r}, has {count}; leave some of its texts out, "
            "add texts of other groups, or name another column"
        )
