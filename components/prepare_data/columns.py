"""Which columns of a data file hold the texts and their labels: a proposal for a person to look at."""

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
from slipway.components.prepare_data.formats import as_text, file_format
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.sources import data_files

ROWS = 20_000
"""That are looked at. A file that is sorted by class may show one class only before that."""

DELIMITERS = ",;\t|"
TEXT_NAMES = ("text", "message", "content", "sentence", "body", "review", "comment", "utterance", "question", "title")
LABEL_NAMES = ("label", "class", "category", "intent", "target", "topic", "sentiment", "tag", "rating", "stars", "y")
LONGEST_LABEL = 80.0
"""Characters on average; what is longer is prose."""


class Column(NamedTuple):
    """What one column holds, as far as it was looked at."""

    name: str
    example: str
    length: float
    """Characters of a value on average."""
    values: int
    """How many different ones there are."""
    commonest: list[tuple[str, int]]
    """The most frequent values, and how often each is there."""
    missing: int
    """Rows without a value."""


class Proposal(NamedTuple):
    """How a source can be read."""

    settings: DataSettings
    columns: list[Column]
    rows: int
    """That were looked at."""

    def column(self, name: str) -> Column:
        """The column of a name."""
        return next(column for column in self.columns if column.name == name)


def propose(source: str) -> Proposal:
    """Look at a file, or at the first data file of a folder.

    Args:
        source: its path.

    Raises:
        BadInput: it is not there, holds no rows, or no two columns look like texts and labels.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise BadInput(f"{source} does not exist; give a data file or a folder of them")
    settings = DataSettings(source=source)
    file = data_files(path, settings)[0]
    kind = file_format(file, settings.format)
    read = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl, "parquet": _parquet}[kind]
    try:
        names, rows, options = read(file)
    except (csv.Error, ValueError, OSError, pa.ArrowException) as error:  # UnicodeDecodeError is a ValueError
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{file} cannot be read as {kind} ({reason}); see the settings data.format and data.delimiter"
        ) from None
    if not rows:
        raise BadInput(f"{file} has no rows; give a file with labelled texts")
    columns = [_column(name, cells) for name, cells in zip(names, zip(*rows, strict=True), strict=True)]
    text, label = _chosen(columns, len(rows), file)
    chosen = {"text_column": text, "label_column": label, **options}
    return Proposal(DataSettings.model_validate({"source": source, **chosen}), columns, len(rows))


Rows = tuple[Sequence[str], list[Sequence[str]], dict[str, Any]]
"""Names of the columns, rows of texts, and the settings by which the file was read."""


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.read(65536)
    counts = {mark: _fields(head, mark) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: counts[mark])
    names, rows, options = _delimited(path, lambda file: csv.reader(file, delimiter=delimiter))
    return names, rows, options | ({} if delimiter == "," else {"delimiter": delimiter})


def _tsv(path: Path) -> Rows:
    return _delimited(path, lambda file: csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _fields(head: str, delimiter: str) -> int:
    """Fields of a record when a delimiter is right: every whole record of the head has as many, two or more; else 0."""
    try:
        records = [record for record in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if record]
    except csv.Error:
        return 0
    sizes = {len(record) for record in records[:-1] or records}
    return sizes.pop() if len(sizes) == 1 and min(sizes) > 1 else 0


def _delimited(path: Path, reader: Callable[[io.TextIOWrapper], Any]) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = [record for record in itertools.islice(reader(file), ROWS + 1) if record]
    if not records:
        return [], [], {}
    first, rest = records[0], [record for record in records[1:] if len(record) == len(records[0])]
    if _names_columns(first, rest):
        return first, rest, {}
    return [str(number) for number in range(1, len(first) + 1)], [first, *rest], {"header": False}


def _names_columns(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first record names the columns: a name is no value of its column, as a class is."""
    return not any(
        cell.strip() and cell in set(cells) for cell, cells in zip(first, zip(*rest, strict=True), strict=False)
    )


def _jsonl(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig") as file:
        objects = [orjson.loads(line) for line in itertools.islice(file, ROWS) if line.strip()]
    if not all(isinstance(item, dict) for item in objects):
        raise ValueError("a line is not a JSON object")
    return _of_objects(objects)


def _parquet(path: Path) -> Rows:
    batch = next(parquet.ParquetFile(path).iter_batches(ROWS), None)
    return _of_objects(batch.to_pylist() if batch else [])


def _of_objects(objects: Sequence[dict[str, Any]]) -> Rows:
    """Rows of objects; fields that hold lists and other objects are left out."""
    names = [
        name
        for name in dict.fromkeys(itertools.chain.from_iterable(objects))
        if all(isinstance(item.get(name), str | int | float | None) for item in objects)
    ]
    return names, [[as_text(item.get(name), name) for name in names] for item in objects], {}


def _column(name: str, cells: Sequence[str]) -> Column:
    present = [cell.strip() for cell in cells if cell.strip()]
    counted = Counter(present)
    length = sum(map(len, present)) / max(len(present), 1)
    example = next(iter(present), "")
    return Column(name, example, length, len(counted), counted.most_common(5), len(cells) - len(present))


def _chosen(columns: Sequence[Column], rows: int, file: Path) -> tuple[str, str]:
    """The names of the columns with the texts and with the labels."""
    labels = [c for c in columns if 2 <= c.values <= max(2, rows // 3) and c.length <= LONGEST_LABEL]
    label = min(labels, key=lambda c: (_place(c.name, LABEL_NAMES), c.missing, c.values), default=None)
    texts = [c for c in columns if c is not label and c.missing <= rows // 2]
    text = min(texts, key=lambda c: (_place(c.name, TEXT_NAMES), -c.length), default=None)
    if label is None or text is None:
        listed = ", ".join(f"{c.name!r} ({c.values} different values, e.g. {c.example[:30]!r})" for c in columns)
        missing = "classes (few values that repeat)" if label is None else "texts"
        raise BadInput(
            f"no column of {file} looks like {missing}; it has {listed}; set data.text_column and data.label_column"
        )
    return text.name, label.name


def _place(name: str, known: Sequence[str]) -> int:
    """How near a column's name is to the usual ones; the nearest is 0."""
    lower = name.lower().strip()
    exact = next((place for place, usual in enumerate(known) if lower == usual), None)
    if exact is not None:
        return exact
    return len(known) + (not any(usual in lower for usual in known if len(usual) > 1))
