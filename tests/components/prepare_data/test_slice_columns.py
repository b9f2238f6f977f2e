"""Columns by which scores are told apart go from the source into the dataset folder."""

from pathlib import Path

import pytest

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.prepare_data import step
from slipway.components.prepare_data.settings import DataSettings
from tests.conftest import WORDS, messages


@pytest.fixture
def source(tmp_path: Path) -> Path:
    texts, topics = messages(60, 1)
    rows = [f" {text} ,{list(WORDS)[topic]},shop {topic}" for text, topic in zip(texts, topics, strict=True)]
    file = tmp_path / "messages.csv"
    file.write_text("\n".join(["text,label,id", *rows, f"{texts[0]},{list(WORDS)[topics[0]]},another shop"]))
    return file


def test_a_column_of_the_source_is_a_column_of_each_split(source: Path, tmp_path: Path) -> None:
    digests = []
    for columns in ([], ["id"]):
        settings = DataSettings(source=str(source), slice_columns=columns)
        digests.append(step.run(settings, tmp_path / str(len(columns))).digest)
    assert digests[0] == digests[1], "the columns are no part of what a model learns"
    data = TextDataset(tmp_path / "1")
    for split in ("train", "validation", "test"):
        assert TextDataset(tmp_path / "0").columns(split) == {}
        shops = [f"shop {list(WORDS).index(data.labels[label])}" for label in data.label_ids(split)]
        assert data.columns(split) == {"id": shops}


def test_a_text_knows_the_file_that_it_is_from(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = source.read_text().splitlines()
    for name, rows in (("a.csv", lines[1:31]), ("b.csv", lines[31:])):
        (folder / name).write_text("\n".join([lines[0], *rows]))
    step.run(DataSettings(source=str(folder), slice_columns=["file"]), tmp_path / "dataset")
    data = TextDataset(tmp_path / "dataset")
    for split in ("train", "validation", "test"):
        files = ["a.csv" if int(text.split()[-1]) < 30 else "b.csv" for text in data.texts(split)]
        assert data.columns(split) == {"file": files}


def test_a_column_that_is_not_there_is_told_with_its_setting(source: Path, tmp_path: Path) -> None:
    settings = DataSettings(source=str(source), slice_columns=["shop"])
    with pytest.raises(BadInput, match="no column 'shop'.*; set data.slice_columns to one of them"):
        step.run(settings, tmp_path / "dataset")
