"""Read labelled texts from one CSV, TSV, JSONL or Parquet file. Errors name the line."""

import csv
import difflib
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as parquet

from slipway.components.errors import BadInput
from slipway.components.prepare_data.settings import DataSettings

SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class Example(NamedTuple):
    """A text with its label. Either is empty when the source has none. `split` is empty until a split is chosen."""

    text: str
    label: str
    split: str = ""


def file_format(path: Path, chosen: str) -> str:
    """The format of a file: the chosen one, or for `auto` that of its suffix.

    Raises:
        BadInput: the suffix is unknown.
    """
    if chosen != "auto":
        return chosen
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        known = ", ".join(SUFFIXES)
        raise BadInput(
            f"{path} has the unknown suffix {path.suffix!r}; give a {known} file, or set data.format"
        ) from None


def read_file(path: Path, settings: DataSettings, split: str = "") -> list[Example]:
    """Read all rows of a file, in order.

    Args:
        path: of the file.
        settings: format, delimiter and columns.
        split: of all its rows; empty to choose later.

    Raises:
        BadInput: the file is empty, not UTF-8 or malformed, or lacks a column.
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


def as_text(value: Any, where: str) -> str:
    """A cell as text; empty for a missing value.

    Raises:
        BadInput: the cell holds a list, an object or bytes.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    raise BadInput(f"{where} holds a {type(value).__name__}, expected text or a number; choose another column")


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start} (line {line}); "
            "convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8`"
        ) from None
    if not text.strip():
        raise BadInput(f"{path} is empty; give a file with labelled texts")
    return text


def _records(path: Path, settings: DataSettings) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV or TSV file, each with the line on which it begins. Quotes have no meaning in TSV."""
    lines = io.StringIO(_decoded(path), newline="")
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


def _jsonl(path: Path, settings: DataSettings) -> Iterator[tuple[str, str]]:
    wanted = {"text_column": settings.text_column, "label_column": settings.label_column}
    columns: dict[str, None] = {}
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(io.StringIO(_decoded(path), newline=""), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path} line {number} is not JSON ({error}); write one object on each line") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path} line {number} is not a JSON object; write one object on each line")
        columns.update(dict.fromkeys(record))
        text, label = (
            as_text(record.get(column), f"{path} line {number} column {column!r}") for column in wanted.values()
        )
        rows.append((text, label))
    for name, column in wanted.items():
        find_column(list(columns), column, name, str(path))
    yield from rows


def _parquet(path: Path, settings: DataSettings) -> Iterator[tuple[str, str]]:
    try:
        schema = parquet.read_schema(path)
        for name in ("text_column", "label_column"):
            find_column(schema.names, getattr(settings, name), name, str(path))
        table = parquet.read_table(path, columns=[settings.text_column, settings.label_column])
        texts, labels = (table[column].to_pylist() for column in (settings.text_column, settings.label_column))
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
