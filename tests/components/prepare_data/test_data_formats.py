"""Reading CSV, TSV, JSONL and Parquet files and folders; every defect is named where it is."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from slipway.components.errors import BadInput
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.sources import Source, read

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
    message = refused(source=written(tmp_path / "a.csv", content))
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


@pytest.mark.parametrize("source", ["missing.csv", "./missing", "/no/such/folder", "a/b/c"])
def test_a_missing_file_is_not_taken_for_a_dataset_of_the_hub(source: str) -> None:
    assert f"{source!r} does not exist" in refused(source=source)
