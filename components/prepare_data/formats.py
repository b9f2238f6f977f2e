"""Read labelled texts from one CSV, TSV, JSONL or Parquet file. Errors name the line."""

import csv
import difflib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as parquet

from slipway.components.errors import BadInput
from slipway.components.prepare_data import text_files
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.values import as_text, number, typed

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
GZIP_SUFFIX = ".gz"
"""May follow one of `SUFFIXES`."""

DELIMITERS = ",;\t|"
"""What usually separates the fields of a CSV file."""

csv.field_size_limit(sys.maxsize)  # a field above the default of 131,072 characters is a long text, not a defect


class Example(NamedTuple):
    """A text with its label. Either is empty when the source has none. `split` is empty until a split is chosen.

    `group` is that of `data.group_column`, and `time` that of `data.time_column` in seconds since 1970.
    """

    text: str
    label: str
    split: str = ""
    group: str = ""
    time: float = 0.0


def suffix_of(path: Path) -> str:
    """The suffix of a data file in lower case, without that of its compression."""
    name = Path(path.stem) if path.suffix.lower() == GZIP_SUFFIX else path
    return name.suffix.lower()


def file_format(path: Path, chosen: str) -> str:
    """The format of a file: the chosen one, or for `auto` that of its suffix.

    Raises:
        BadInput: the suffix is unknown.
    """
    if chosen != "auto":
        return chosen
    try:
        return SUFFIXES[suffix_of(path)]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise BadInput(
            f"{path} has the unknown suffix {path.suffix!r}; give a {known} file (it may be compressed with gzip), or "
            "set data.format"
        ) from None


def read_file(path: Path, settings: DataSettings, split: str = "") -> list[Example]:
    """Read all rows of a file, in order.

    Args:
        path: of the file.
        settings: format, encoding, delimiter and columns.
        split: of all its rows; empty to choose later.

    Raises:
        BadInput: the file is empty, malformed, or of another encoding, or lacks a column.
    """
    if not path.stat().st_size:
        raise BadInput(f"{path} is empty; give a file with labelled texts")
    kind = file_format(path, settings.format)
    readers = {"csv": _csv, "tsv": _csv, "jsonl": _jsonl, "parquet": _parquet}
    pairs = readers[kind](path, settings)
    examples = [Example(text, label, split) for text, label in pairs]
    if not examples:
        raise BadInput(f"{path} has no rows; give a file with labelled texts")
    return examples


def with_types(examples: list[Example], kind: str) -> list[Example]:
    """The examples of all files of a source, with numbers and booleans of CSV as the other formats have them.

    What a column holds shows in the source as a whole, since one of its files may have numbers only.
    """
    if kind not in ("csv", "tsv") or not examples:
        return examples
    texts, labels = typed([example.text for example in examples]), typed([example.label for example in examples])
    return [
        example._replace(text=text, label=label) for example, text, label in zip(examples, texts, labels, strict=True)
    ]


def find_column(columns: Sequence[str], wanted: str, setting_name: str, source: str) -> int:
    """The index of a column.

    Args:
        columns: names of the columns.
        wanted: name of the column to find.
        setting_name: of the setting that names the column, for the message.
        source: the file, for the message.

    Raises:
        BadInput: there is no such column. The message lists the columns, and those with a similar name.
    """
    if wanted in columns:
        return list(columns).index(wanted)
    by_lower = {column.lower(): column for column in columns}
    close = [by_lower[lower] for lower in difflib.get_close_matches(wanted.lower(), by_lower, cutoff=0.5)]
    hint = f" (close: {', '.join(map(repr, close))})" if close else ""
    listed = ", ".join(map(repr, columns[:30])) + (" …" if len(columns) > 30 else "")
    raise BadInput(f"{source} has no column {wanted!r}; it has {listed}{hint}; set data.{setting_name} to one of them")


def _records(path: Path, settings: DataSettings) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV or TSV file, each with the line on which it begins. Quotes have no meaning in TSV."""
    lines = io.StringIO(text_files.read_text(path, settings.encoding), newline="")
    if file_format(path, settings.format) == "tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=settings.delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise BadInput(
                f"{path} is malformed in the record that begins on line {line} ({error}); "
                "correct its quotes, or set data.format and data.delimiter"
            ) from None
        if record is None:
            return
        if record:
            yield line, record


def _csv(path: Path, settings: DataSettings) -> Iterator[tuple[str, str]]:
    records = _records(path, settings)
    first_line, first = next(records)
    columns = first if settings.header else [str(number) for number in range(1, len(first) + 1)]
    _refuse_other_delimiter(path, first, settings)
    text = find_column(columns, settings.text_column, "text_column", str(path))
    label = find_column(columns, settings.label_column, "label_column", str(path))
    if not settings.header:
        yield first[text], first[label]
    for line, record in records:
        if len(record) != len(columns):
            raise BadInput(
                f"{path} is malformed: the record on line {line} has {len(record)} fields, expected {len(columns)} as "
                f"on line {first_line}; put quotes around a field that contains the delimiter, or correct the line"
            )
        yield record[text], record[label]


def _refuse_other_delimiter(path: Path, first: Sequence[str], settings: DataSettings) -> None:
    """Refuse a file whose first record has one field, which another delimiter would divide."""
    best = max(DELIMITERS, key=first[0].count)
    if len(first) == 1 and best in first[0]:
        raise BadInput(
            f"{path} has no column {settings.label_column!r}; it has {first[0][:80]!r}; its fields seem to be "
            f"separated by {best!r}; set data.delimiter={best!r}"
        )


def _jsonl(path: Path, settings: DataSettings) -> Iterator[tuple[str, str]]:
    wanted = {"text_column": settings.text_column, "label_column": settings.label_column}
    columns: dict[str, None] = {}
    rows: list[tuple[str, str]] = []
    for row, line in enumerate(io.StringIO(text_files.read_text(path, settings.encoding), newline=""), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path} line {row} is not JSON ({error}); write one object on each line") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path} line {row} is not a JSON object; write one object on each line")
        columns.update(dict.fromkeys(record))
        text, label = (
            as_text(record.get(column), f"{path} line {row} column {column!r}") for column in wanted.values()
        )
        rows.append((text, label))
    for name, column in wanted.items():
        find_column(list(columns), column, name, str(path))
    yield from rows


def _parquet(path: Path, settings: DataSettings) -> Iterator[tuple[str, str]]:
    try:
        # Not its path: pyarrow would take `name=value` in the names of folders above it for columns.
        with pa.BufferReader(text_files.content(path)) if text_files.is_gzip(path) else pa.OSFile(str(path)) as source:
            file = parquet.ParquetFile(source)
            schema = file.schema_arrow
            for name in ("text_column", "label_column"):
                find_column(schema.names, getattr(settings, name), name, str(path))
            table = file.read([settings.text_column, settings.label_column])
        texts, labels = (_values(table[column]) for column in (settings.text_column, settings.label_column))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} cannot be read as Parquet ({reason}); write the file again") from None
    names = _class_names(schema, settings.label_column)
    for row, (text, label) in enumerate(zip(texts, labels, strict=True), start=1):
        if names and isinstance(label, int):
            label = names[label] if 0 <= label < len(names) else None
        where = f"{path} row {row} column"
        text, label = (
            as_text(text, f"{where} {settings.text_column!r}"),
            as_text(label, f"{where} {settings.label_column!r}"),
        )
        yield text, label


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column. Numbers of single precision are written as such: 0.1, not 0.10000000149011612."""
    if pa.types.is_float32(column.type):
        return [value and number(value) for value in column.cast(pa.string()).to_pylist()]
    return list(column.to_pylist())


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    """Names of the classes in the metadata of a Parquet file of the datasets library; empty for other files.

    The column then holds indices of these names.
    """
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names: list[str] = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return names
