"""Propose which columns of a data file hold the texts and their labels, for `slipway init`."""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as parquet

from slipway.components.errors import BadInput
from slipway.components.prepare_data import text_files
from slipway.components.prepare_data.formats import DELIMITERS, file_format
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.sources import data_files
from slipway.components.prepare_data.values import as_text

ROWS = 20_000
"""How many rows are read at most. In a file that is sorted by class, fewer rows may all have the same class."""

TEXT_NAMES = ("text", "message", "content", "sentence", "body", "review", "comment", "utterance", "question", "title")
LABEL_NAMES = ("label", "class", "category", "intent", "target", "topic", "sentiment", "tag", "rating", "stars", "y")
LONGEST_LABEL = 80.0
"""Greatest mean length of labels in characters. A column with longer values holds prose."""


class Column(NamedTuple):
    """What one column holds in the rows that were read."""

    name: str
    example: str
    length: float
    """Mean number of characters of a value."""
    values: int
    """Number of different values."""
    commonest: list[tuple[str, int]]
    """The most frequent values with their counts."""
    missing: int
    """Number of rows without a value."""


class Proposal(NamedTuple):
    """Settings that read a source, and what its columns hold."""

    settings: DataSettings
    columns: list[Column]
    rows: int
    """Number of rows that were read."""

    def column(self, name: str) -> Column:
        """The column with a name."""
        return next(column for column in self.columns if column.name == name)


def propose(source: str) -> Proposal:
    """Read the first rows of a file, or of the first data file in a folder, and propose settings for it.

    Args:
        source: path of the file or folder.

    Raises:
        BadInput: the path does not exist, the file has no rows, or no two columns look like texts and labels.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise BadInput(f"{source} does not exist; give a data file or a folder of them")
    settings = DataSettings(source=source)
    file = data_files(path, settings)[0]
    kind = file_format(file, settings.format)
    read = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl, "parquet": _parquet}[kind]
    try:
        names, rows, file_options = read(file)
    except (csv.Error, ValueError, OSError, pa.ArrowException) as error:  # UnicodeDecodeError is a ValueError
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{file} cannot be read as {kind} ({reason}); see data.format, data.encoding and data.delimiter"
        ) from None
    if not rows:
        raise BadInput(f"{file} has no rows; give a file with labelled texts")
    columns = [_column(name, cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)]
    text, label = _text_and_label(columns, len(rows), file)
    options = {"text_column": text, "label_column": label, **file_options}
    return Proposal(DataSettings.model_validate({"source": source, **options}), columns, len(rows))


Rows = tuple[Sequence[str], list[Sequence[str]], dict[str, Any]]
"""Names of the columns, rows of cells as text, and the settings that the file needs to be read."""


def _csv(path: Path) -> Rows:
    with text_files.opened(path) as file:
        head = file.read(65536)
    counts = {delimiter: _fields(head, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    names, rows, options = _delimited(path, lambda file: csv.reader(file, delimiter=best))
    return names, rows, options | ({} if best == "," else {"delimiter": best})


def _tsv(path: Path) -> Rows:
    return _delimited(path, lambda file: csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _fields(head: str, delimiter: str) -> int:
    """The number of fields in each record if a delimiter fits: two or more, the same in every complete record; else 0.

    Args:
        head: the first characters of the file, which may end within a record.
        delimiter: to be tried.
    """
    try:
        records = [record for record in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if record]
    except csv.Error:
        return 0
    sizes = {len(record) for record in records[:-1] or records}
    return sizes.pop() if len(sizes) == 1 and min(sizes) > 1 else 0


def _delimited(path: Path, reader: Callable[[io.TextIOWrapper], Any]) -> Rows:
    with text_files.opened(path) as file:
        records = [record for record in itertools.islice(reader(file), ROWS + 1) if record]
    if not records:
        return [], [], {}
    first, rest = records[0], [record for record in records[1:] if len(record) == len(records[0])]
    if _names_columns(first, rest):
        return first, rest, {}
    return [str(number) for number in range(1, len(first) + 1)], [first, *rest], {"header": False}


def _names_columns(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns. It does not if one of its cells occurs again in the same column."""
    return not any(
        cell.strip() and cell in set(cells) for cell, cells in zip(first, zip(*rest, strict=True), strict=False)
    )


def _jsonl(path: Path) -> Rows:
    with text_files.opened(path) as file:
        objects = [orjson.loads(line) for line in itertools.islice(file, ROWS) if line.strip()]
    if not all(isinstance(item, dict) for item in objects):
        raise ValueError("a line is not a JSON object")
    return _of_objects(objects)


def _parquet(path: Path) -> Rows:
    source = pa.BufferReader(text_files.content(path)) if text_files.is_gzip(path) else path
    batch = next(parquet.ParquetFile(source).iter_batches(ROWS), None)
    return _of_objects(batch.to_pylist() if batch else [])


def _of_objects(objects: Sequence[dict[str, Any]]) -> Rows:
    """Rows from JSON objects. Fields that hold lists or objects are left out."""
    names = [
        name
        for name in dict.fromkeys(itertools.chain.from_iterable(objects))
        if all(isinstance(item.get(name), str | int | float | None) for item in objects)
    ]
    return names, [[as_text(item.get(name), name) for name in names] for item in objects], {}


def _column(name: str, cells: Sequence[str]) -> Column:
    present = [cell.strip() for cell in cells if cell.strip()]
    counts = Counter(present)
    length = sum(map(len, present)) / max(len(present), 1)
    example = next(iter(present), "")
    return Column(name, example, length, len(counts), counts.most_common(5), len(cells) - len(present))


def _text_and_label(columns: Sequence[Column], rows: int, file: Path) -> tuple[str, str]:
    """Choose the columns with the texts and with the labels; returns their names."""
    labels = [
        column for column in columns if 2 <= column.values <= max(2, rows // 3) and column.length <= LONGEST_LABEL
    ]
    label = min(
        labels, key=lambda column: (_name_rank(column.name, LABEL_NAMES), column.missing, column.values), default=None
    )
    texts = [column for column in columns if column is not label and column.missing <= rows // 2]
    text = min(texts, key=lambda column: (_name_rank(column.name, TEXT_NAMES), -column.length), default=None)
    if label is None or text is None:
        listed = ", ".join(
            f"{column.name!r} ({column.values} different values, e.g. {column.example[:30]!r})" for column in columns
        )
        missing = "classes (few values that repeat)" if label is None else "texts"
        raise BadInput(
            f"no column of {file} looks like {missing}; it has {listed}; set data.text_column and data.label_column"
        )
    return text.name, label.name


def _name_rank(name: str, known_names: Sequence[str]) -> int:
    """The rank of a column's name: its index among the usual names, then names that contain one, then all others."""
    lower = name.lower().strip()
    exact = next((rank for rank, known_name in enumerate(known_names) if lower == known_name), None)
    if exact is not None:
        return exact
    return len(known_names) + (not any(known_name in lower for known_name in known_names if len(known_name) > 1))
