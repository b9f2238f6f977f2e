"""Data on this machine are checked before a run starts."""

from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.components.prepare_data import usable
from slipway.components.prepare_data.settings import DataSettings


@pytest.fixture
def lonely(tmp_path: Path) -> DataSettings:
    """Settings for data with one text of a class."""
    file = tmp_path / "texts.csv"
    rows = [f"text number {number},{'ab'[number % 2]}" for number in range(40)]
    file.write_text("\n".join(["text,label", *rows, "something else,lonely"]), "utf-8")
    return DataSettings(source=str(file))


def test_a_class_with_too_few_texts_is_told(lonely: DataSettings) -> None:
    with pytest.raises(BadInput, match=r"'lonely' \(1\)"):
        usable.check_local(lonely)
    usable.check_local(lonely.model_copy(update={"rare_classes": "drop"}))


@pytest.mark.parametrize(
    ("row", "cause"),
    [(" ,b", "no text"), (f"{'long ' * 500},b", "too long, data.maximum_length=2000")],
)
def test_a_class_of_which_nothing_is_left_is_refused_as_a_rare_one(tmp_path: Path, row: str, cause: str) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("\n".join(["text,label", *[f"some words {n},{'ac'[n % 2]}\n{row}" for n in range(40)]]), "utf-8")
    settings = DataSettings(source=str(file))
    with pytest.raises(BadInput, match=rf"'b' \(0\); removed were 40 of 'b' \({cause}\)"):
        usable.check_local(settings)
    usable.check_local(settings.model_copy(update={"rare_classes": "drop"}))


def test_texts_that_cannot_be_used_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "texts.csv"
    file.write_text("\n".join(["text,label", *["some words,a", "other words,"] * 20]), "utf-8")
    with pytest.raises(BadInput, match="fewer than 2 classes with usable texts.*'no label': 20"):
        usable.check_local(DataSettings(source=str(file)))


def test_of_large_data_only_the_files_are_looked_for(lonely: DataSettings) -> None:
    usable.check_local(lonely, most_bytes=100)
    with pytest.raises(BadInput, match="does not exist"):
        usable.check_local(DataSettings(source=f"{lonely.source}.gz"), most_bytes=100)
