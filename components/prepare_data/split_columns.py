"""The columns by which texts are split: their groups and their times.

They are read apart from texts and labels, which most users need alone; the rows come in the same order.
"""

from collections.abc import Mapping, Sequence

from slipway.components.artifacts.normalisation import clean
from slipway.components.prepare_data import sources, times
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings


def added(examples: Sequence[Example], settings: DataSettings) -> list[Example]:
    """The rows of the source with their groups and times, as far as the settings name columns of these.

    Args:
        examples: all rows of the source, in order.
        settings: of the data.

    Raises:
        BadInput: the source lacks a column, or a row that has text and label has no time that can be read.
    """
    rows = list(examples)
    if settings.group_column:
        groups = sources.with_column(settings, settings.group_column, "group_column")
        rows = [row._replace(group=clean(other.label)) for row, other in zip(rows, groups, strict=True)]
    if settings.time_column:
        others = sources.with_column(settings, settings.time_column, "time_column")
        values = [
            clean(other.label) if clean(row.text) and clean(row.label) else None
            for row, other in zip(rows, others, strict=True)
        ]
        seconds = times.seconds_of(values, settings.source, settings.time_column)
        rows = [row._replace(time=time) for row, time in zip(rows, seconds, strict=True)]
    return rows


def of_splits(splits: Mapping[str, Sequence[Example]]) -> dict[str, list[int]]:
    """The number of the group of each example of each split."""
    numbers = iter(group_ids([example for rows in splits.values() for example in rows]))
    return {name: [next(numbers) for _ in rows] for name, rows in splits.items()}


def group_ids(examples: Sequence[Example]) -> list[int]:
    """The number of the group of each example. An example without group is one of its own.

    Numbers stand for groups, so that the dataset folder does not say who wrote a text.
    """
    keys = [(example.group, "" if example.group else example.text) for example in examples]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return [numbers[key] for key in keys]
