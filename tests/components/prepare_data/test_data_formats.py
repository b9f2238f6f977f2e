"""Reading CSV, TSV, JSONL and Parquet files and folders; every defect is named where it is."""

import codecs
import csv
import datetime
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from slipway.components.errors import BadInput
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.sources import Source, data_files, read

ROWS = [('He said "no", then\nleft', "delivery"), ("Zahlung über 5 €", "billing")]


def written(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def rows(source: Source) -> list[tuple[str, str]]:
    return [(example.text, example.label) for example in source.examples]


def refused(**settings: object) -> str:
    with pytest.raises(BadInput) as caught:
        read(DataSettings.model_validate(settings))
    return str(caught.value)


def test_csv_follows_the_quoting_rules(tmp_path: Path) -> None:
    content = '\ufefftext,label\r\n"He said ""no"", then\nleft",delivery\r\nZahlung über 5 €,billing\r\n'
    assert rows(read(DataSettings(source=written(tmp_path / "a.csv", content)))) == ROWS


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    source = written(tmp_path / "a.tsv", 'label\ttext\nbilling\t"paid" twice, 5" too wide\ndelivery\t"late\n')
    assert rows(read(DataSettings(source=source))) == [('"paid" twice, 5" too wide', "billing"), ('"late', "delivery")]


def test_jsonl_is_read_with_missing_values_as_empty(tmp_path: Path) -> None:
    lines = [json.dumps({"text": text, "label": label, "more": [1]}) for text, label in ROWS]
    source = written(tmp_path / "a.jsonl", "\n".join([*lines, '{"text": null}', ""]))
    assert rows(read(DataSettings(source=source))) == [*ROWS, ("", "")]


def test_parquet_is_read_with_numbers_as_labels(tmp_path: Path) -> None:
    table = pa.table({"body": ["a", "b", None], "topic": [3.0, 4.0, None], "other": [[1], [2], [3]]})
    parquet.write_table(table, tmp_path / "a.parquet")
    settings = DataSettings(source=str(tmp_path / "a.parquet"), text_column="body", label_column="topic")
    assert rows(read(settings)) == [("a", "3"), ("b", "4"), ("", "")]


CSV = "text,label\nZahlung über 5 €,billing\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CSV.encode("utf-8-sig"), "auto"),
        (codecs.BOM_UTF16_LE + CSV.encode("utf-16-le"), "auto"),
        (codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"), "auto"),
        (codecs.BOM_UTF32_LE + CSV.encode("utf-32-le"), "auto"),
        (codecs.BOM_UTF16_LE + CSV.encode("utf-16-le"), "utf-16-le"),
        (CSV.encode("utf-16-be"), "utf-16-be"),
        (CSV.encode("cp1252"), "windows-1252"),
        (gzip.compress(CSV.encode()), "auto"),
        (gzip.compress(CSV.encode("utf-16")), "auto"),
    ],
    ids=["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "both", "named", "windows", "gzip", "gzip-utf-16"],
)
def test_encodings_and_gzip_are_read(tmp_path: Path, content: bytes, encoding: str) -> None:
    settings = DataSettings(source=written(tmp_path / "a.csv", content), encoding=encoding)
    assert rows(read(settings)) == [ROWS[1]]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.tsv.gz", "A.CSV.GZ", "a.parquet.gz"])
def test_a_compressed_file_has_the_format_of_its_inner_suffix(tmp_path: Path, name: str) -> None:
    path = tmp_path / "plain"
    parquet.write_table(pa.table({"text": [ROWS[1][0]], "label": [ROWS[1][1]]}), path)
    contents = {
        "a.jsonl.gz": json.dumps(dict(zip(("text", "label"), ROWS[1], strict=True))).encode(),
        "a.tsv.gz": CSV.replace(",", "\t").encode(),
        "A.CSV.GZ": CSV.encode(),
        "a.parquet.gz": path.read_bytes(),
    }
    written(tmp_path / "d" / name, gzip.compress(contents[name]))
    assert rows(read(DataSettings(source=str(tmp_path / "d")))) == [ROWS[1]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (CSV.encode("utf-16-le"), "looks like UTF-16 without a byte order mark.*data.encoding=utf-16-le"),
        (CSV.encode("utf-16-be"), "data.encoding=utf-16-be"),
        (CSV.encode("cp1252"), "set data.encoding to its encoding"),
        (gzip.compress(CSV.encode())[:-9], "compressed with gzip and damaged"),
        (b"PK\x03\x04more", r"spreadsheet \(.xlsx\)"),
        (b"PAR1more", "data.format=parquet"),
        (b"text;label\na;b\n", "data.delimiter=';'"),
        (b"text\tlabel\na\tb\n", r"data.delimiter='\\t'"),
    ],
    ids=["utf-16-le", "utf-16-be", "windows", "gzip", "spreadsheet", "parquet", "semicolons", "tabs"],
)
def test_what_has_another_form_is_told_with_the_setting(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read(DataSettings(source=written(tmp_path / "a.csv", content)))


def test_a_tab_may_be_written_as_a_shell_passes_it(tmp_path: Path) -> None:
    source = written(tmp_path / "a.csv", "text\tlabel\na\tb\n")
    assert rows(read(DataSettings(source=source, delimiter="\\t"))) == [("a", "b")]


@pytest.mark.parametrize("encoding", ["base64", "no-such-thing"])
def test_an_unknown_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="utf-16-le"):
        DataSettings(encoding=encoding)


def test_a_long_field_is_a_long_text(tmp_path: Path) -> None:
    text = "word " * 40_000
    assert rows(read(DataSettings(source=written(tmp_path / "a.csv", f"text,label\n{text},a\n")))) == [(text, "a")]


VALUES: list[tuple[list[Any], list[str]]] = [
    ([1, 0, None], ["1", "0", ""]),
    ([1.0, 2.0, None], ["1", "2", ""]),
    ([0.1, 2.5, 1e-7], ["0.1", "2.5", "0.0000001"]),
    ([True, False, None], ["true", "false", ""]),
    ([Decimal("3.50"), Decimal("4.00"), None], ["3.5", "4", ""]),
    ([datetime.date(2024, 1, 1), None], ["2024-01-01", ""]),
    (["3.1", "3.10", "007"], ["3.1", "3.10", "007"]),
    (["007", "1.0", "x"], ["007", "1.0", "x"]),
    (["null", "NaN", "True?"], ["null", "NaN", "True?"]),
]


@pytest.mark.parametrize(("values", "labels"), VALUES)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "single"])
def test_one_value_has_one_reading_in_every_format(
    tmp_path: Path, kind: str, values: list[Any], labels: list[str]
) -> None:
    path = tmp_path / "d" / f"a.{'parquet' if kind == 'single' else kind}"
    path.parent.mkdir()
    texts = [f"text {number}" for number in range(len(values))]
    if kind == "csv":  # as Python and pandas write it: True, 1.0, nothing for None
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, values, strict=True)])
    elif kind == "jsonl":
        objects = [{"text": text, "label": value} for text, value in zip(texts, values, strict=True)]
        path.write_text("\n".join(json.dumps(item, default=_as_number) for item in objects))
    else:
        kinds = pa.float32() if kind == "single" and isinstance(values[0], float) else None
        parquet.write_table(pa.table({"text": texts, "label": pa.array(values, kinds)}), path)
    assert [label for _, label in rows(read(DataSettings(source=str(tmp_path / "d"))))] == labels


def _as_number(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def test_numbers_are_known_in_the_source_as_a_whole(tmp_path: Path) -> None:
    written(tmp_path / "d" / "1.csv", "text,label\na,3.10\n")
    written(tmp_path / "d" / "2.csv", "text,label\na,3.1\nb,3.9\n")
    assert [label for _, label in rows(read(DataSettings(source=str(tmp_path / "d"))))] == ["3.10", "3.1", "3.9"]


def test_a_file_without_header_has_numbered_columns(tmp_path: Path) -> None:
    source = written(tmp_path / "a.tsv", "ham\thello\nspam\tbuy\n")
    settings = DataSettings.model_validate({"source": source, "header": False, "text_column": 2, "label_column": 1})
    assert rows(read(settings)) == [("hello", "ham"), ("buy", "spam")]


def test_a_folder_is_read_in_name_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.csv", "a/z.csv", ".hidden/c.csv", "c.txt"):
        written(tmp_path / "d" / name, f"text,label\nfrom {name},x\n")
    source = read(DataSettings(source=str(tmp_path / "d")))
    assert source.parts == ["a/z.csv", "b.csv"]
    assert [text for text, _ in rows(source)] == ["from a/z.csv", "from b.csv"]


def test_files_of_a_folder_name_their_splits(tmp_path: Path) -> None:
    for name in ("train-00000.csv", "train-00001.csv", "dev.csv", "test/part.csv"):
        written(tmp_path / "d" / name, f"text,label\nfrom {name},x\n")
    source = read(DataSettings(source=str(tmp_path / "d"), ready_splits=True))
    assert [example.split for example in source.examples] == ["validation", "test", "train", "train"]
    written(tmp_path / "d" / "extra.csv", "text,label\na,b\n")
    assert "extra.csv" in refused(source=str(tmp_path / "d"), ready_splits=True)


def test_a_missing_column_is_named_with_those_found_and_the_close_ones(tmp_path: Path) -> None:
    message = refused(source=written(tmp_path / "a.csv", "id,Text,category\n1,a,b\n"))
    assert "no column 'text'" in message
    assert "'id', 'Text', 'category'" in message
    assert "close: 'Text'" in message
    assert "text_column" in message
    jsonl = written(tmp_path / "a.jsonl", '{"text": "a", "labels": "b"}\n')
    assert "no column 'label'; it has 'text', 'labels' (close: 'labels')" in refused(source=jsonl)
    parquet.write_table(pa.table({"text": ["a"], "y": ["b"]}), tmp_path / "a.parquet")
    assert "no column 'label'; it has 'text', 'y'" in refused(source=str(tmp_path / "a.parquet"))


def test_bytes_that_are_not_utf8_are_named_by_offset_and_line(tmp_path: Path) -> None:
    content = b"text,label\nfine,a\nZahlung " + "über".encode("cp1252") + b",b\n"
    for compressed in (content, gzip.compress(content)):
        message = refused(source=written(tmp_path / "a.csv", compressed))
        assert "byte 0xfc at offset 26 (line 3)" in message


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert "a." in refused(source=written(tmp_path / name, content))


def test_a_file_with_a_header_alone_is_refused(tmp_path: Path) -> None:
    assert "has no rows" in refused(source=written(tmp_path / "a.csv", "text,label\n"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "text,label\nfine,a\none, two,b\n", "line 3 has 3 fields, expected 2"),
        ("a.csv", 'text,label\n"two\nlines",a\nalone\n', "line 4 has 1 fields"),
        ("a.csv", 'text,label\nfine,a\n"never closed,b\nc,d\n', "begins on line 3"),
        ("a.csv", 'text,label\n"closed" too early,b\n', "begins on line 2"),
        ("a.tsv", "text\tlabel\nno tab\n", "line 2 has 1 fields"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n\n{"text": \n', "line 3 is not JSON"),
        ("a.jsonl", '["a", "b"]\n', "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": ["a"], "label": "b"}\n', "line 1 column 'text' holds a list"),
        ("a.jsonl", "[" * 100_000 + "\n", "line 1 is not JSON"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert expected in refused(source=written(tmp_path / name, content))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"] * 5000, "label": ["b"] * 5000}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for damaged in (content[:-20], b"not parquet at all", content[:4] + b"\xff" * 60 + content[64:]):
        message = refused(source=written(tmp_path / "b.parquet", damaged))
        assert "b.parquet cannot be read as Parquet" in message


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = refused(source=written(tmp_path / "a.xlsx", "x"))
    assert "'.xlsx'" in message
    assert ".parquet" in message
    source = written(tmp_path / "a.txt", "text,label\na,b\n")
    assert rows(read(DataSettings(source=source, format="csv"))) == [("a", "b")]


def test_a_folder_without_data_files_or_with_mixed_formats_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "d" / "notes.txt", "x")
    assert "has no data files" in refused(source=str(tmp_path / "d"))
    written(tmp_path / "d" / "a.csv", "text,label\na,b\n")
    written(tmp_path / "d" / "b.tsv", "text\tlabel\nc\td\n")
    assert "mixes formats (1 csv, 1 tsv)" in refused(source=str(tmp_path / "d"))
    assert rows(read(DataSettings(source=str(tmp_path / "d"), format="tsv"))) == [("c", "d")]


@pytest.mark.parametrize("name", ["part-00000", "part-00000-1b2c.c000"])
def test_files_of_a_folder_may_have_no_suffix_when_the_format_is_given(tmp_path: Path, name: str) -> None:
    for other in ("_SUCCESS", "_delta_log/a.json", ".part.crc"):
        written(tmp_path / "reviews.csv" / other, "x")
    path = written(tmp_path / "reviews.csv" / name, "text,label\na,b\n")
    settings = DataSettings(source=str(tmp_path / "reviews.csv"))
    with pytest.raises(BadInput, match="has no data files .* among its 1 files; set data.format"):
        read(settings)
    assert data_files(tmp_path / "reviews.csv", settings.model_copy(update={"format": "csv"})) == [Path(path)]


@pytest.mark.parametrize(
    "source",
    ["missing.csv", "./missing", "/no/such/folder", "a/b/c", "a/missing.csv.gz", "data/missing.txt", "missing.xlsx"],
)
def test_a_missing_file_is_not_taken_for_a_dataset_of_the_hub(source: str) -> None:
    assert f"{source!r} does not exist" in refused(source=source)
