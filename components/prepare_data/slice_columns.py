"""Further columns of the source, by whose values the evaluation tells scores apart.

They are read apart from texts and labels, which most users need alone.
"""

from collections.abc import Iterator, Mapping, Sequence

from slipway.components.artifacts.normalisation import clean
from slipway.components.prepare_data import sources
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings

FILE = "file"
"""Stands for the data file that a text is from, or the split of a dataset on a hub."""
Values = dict[str, dict[str, str]]
"""Column to clean text to its value. Of a text that occurs more than once, the first value counts."""


def read(settings: DataSettings) -> Values:
    """Read the columns that the settings name.

    Raises:
        BadInput: the source cannot be read, or lacks a column.
    """
    found: Values = {}
    for column in settings.slice_columns:
        values = found.setdefault(column, {})
        for text, value in _files(settings) if column == FILE else _column(settings, column):
            values.setdefault(clean(text, settings.unescape_html), clean(value))
    return found


def _files(settings: DataSettings) -> Iterator[tuple[str, str]]:
    for name, examples in sources.by_file(settings).items():
        yield from ((example.text, name) for example in examples)


def _column(settings: DataSettings, column: str) -> Iterator[tuple[str, str]]:
    yield from ((row.text, row.label) for row in sources.with_column(settings, column, "slice_columns"))


def of_splits(values: Values, splits: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, list[str]]]:
    """The values of each column for the texts of each split."""
    return {
        name: {column: [of_text.get(row.text, "") for row in rows] for column, of_text in values.items()}
        for name, rows in splits.items()
    }
