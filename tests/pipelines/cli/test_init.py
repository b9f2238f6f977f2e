"""`slipway init` finds the columns of people's files, and writes settings that read them."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from slipway.components.prepare_data.columns import propose
from slipway.components.prepare_data.sources import read
from slipway.pipelines.settings import SlipwaySettings, load_settings
from tests.pipelines.command import slipway

ROWS = [(f"The parcel {i} never came, and nobody answers.", ("late", "lost", "wrong")[i % 3]) for i in range(60)]


pytestmark = pytest.mark.usefixtures("here")


def semicolons(path: Path) -> None:
    path.write_text("nr;Kundentext;Grund\n" + "".join(f'{i};"{text}";{kind}\n' for i, (text, kind) in enumerate(ROWS)))


def without_header(path: Path) -> None:
    path.write_text("".join(f'{kind},"{text}"\n' for text, kind in ROWS))


def tabs(path: Path) -> None:
    path.write_text("message\tintent\n" + "".join(f"{text}\t{kind}\n" for text, kind in ROWS))


def objects(path: Path) -> None:
    lines = [json.dumps({"id": i, "tags": ["a"], "body": text, "stars": i % 3}) for i, (text, _) in enumerate(ROWS)]
    path.write_text("\n".join(lines))


def columns(path: Path) -> None:
    parquet.write_table(pa.table({"title": [t for t, _ in ROWS], "class": [k for _, k in ROWS]}), path)


@pytest.mark.parametrize(
    ("name", "write", "text", "label"),
    [
        ("mails.csv", semicolons, "Kundentext", "Grund"),
        ("mails.csv", without_header, "2", "1"),
        ("mails.tsv", tabs, "message", "intent"),
        ("mails.jsonl", objects, "body", "stars"),
        ("mails.parquet", columns, "title", "class"),
    ],
)
def test_the_settings_that_it_writes_read_the_data(
    here: Path, name: str, write: Callable[[Path], None], text: str, label: str
) -> None:
    write(here / name)
    done = slipway("init", name)
    assert done.exit_code == 0, done.output
    data = load_settings(None).data
    assert (data.text_column, data.label_column) == (text, label)
    assert [(row.text, row.label) for row in read(data).examples][:2] == [
        (ROWS[i][0], str(i) if name.endswith("jsonl") else ROWS[i][1]) for i in (0, 1)
    ]
    assert "3 classes" in done.output
    assert "3 classes" in Path("slipway.yaml").read_text()


def test_a_folder_is_known_by_its_first_file(here: Path) -> None:
    (here / "mails").mkdir()
    tabs(here / "mails" / "a.tsv")
    assert propose("mails").settings.text_column == "message"


def test_without_data_the_file_changes_nothing() -> None:
    assert slipway("init").exit_code == 0
    assert load_settings(None) == SlipwaySettings()


def test_it_writes_over_nothing_unasked() -> None:
    Path("slipway.yaml").write_text("model_name: mine\n")
    refused = slipway("init")
    assert (refused.exit_code, "--force" in refused.output) == (2, True)
    assert Path("slipway.yaml").read_text() == "model_name: mine\n"
    assert slipway("init", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label\n", "has no rows"),
        ("text,number\n" + "".join(f"hello {i},{i}\n" for i in range(40)), "looks like classes"),
        ("a\nx\nx\ny\n", "looks like texts"),
    ],
)
def test_what_cannot_be_read_is_told(here: Path, content: str, words: str) -> None:
    (here / "bad.csv").write_text(content)
    done = slipway("init", "bad.csv")
    assert (done.exit_code, words in " ".join(done.output.split())) == (2, True), done.output
    assert not Path("slipway.yaml").exists()


def test_bytes_that_are_no_text_and_files_that_are_not_there(here: Path) -> None:
    (here / "latin.csv").write_bytes("text,label\ngrüß gott,gut\n".encode("latin-1"))
    assert "cannot be read as csv" in slipway("init", "latin.csv").output
    assert "does not exist" in slipway("init", "nowhere.csv").output


@pytest.mark.parametrize("name", ["2026 reviews.csv", "ÄÖ.csv", "-.csv", f"{'long-' * 20}.csv"])
def test_every_file_name_gives_a_model_name(here: Path, name: str) -> None:
    semicolons(here / name)
    done = slipway("init", "--", name)
    assert done.exit_code == 0, done.output
    assert load_settings(None).model_name
