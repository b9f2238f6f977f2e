"""Further columns of the source, by whose values the evaluation tells scores apart.

They are read apart from texts and labels, which most users need alone.
"""

from collections.abc import Mapping, Sequence

from slipway.components.artifacts.normalisation import clean
from slipway.components.errors import BadInput
from slipway.components.prepare_data import sources
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.settings import DataSettings

Values = dict[str, dict[str, str]]
"""Column to clean text to its value. Of a text that occurs more than once, the first value counts."""


def read(settings: DataSettings) -> Values:
    """Read the columns that the settings name.

    Raises:
        BadInput: the source cannot be read, or lacks a column.
    """
    found: Values = {}
    for column in settings.slice_columns:
        try:
            examples = sources.read(settings.model_copy(update={"label_column": column})).examples
        except BadInput as error:
            raise BadInput(str(error).replace("data.label_column", "data.slice_columns")) from error
        values = found.setdefault(column, {})
        for example in examples:
            values.setdefault(clean(example.text, settings.unescape_html), clean(example.label))
    return found


def of_splits(values: Values, splits: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, list[str]]]:
    """The values of each column for the texts of each split."""
    return {
        name: {column: [of_text.get(row.text, "") for row in rows] for column, of_text in values.items()}
        for name, rows in splits.items()
    }
