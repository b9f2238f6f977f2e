"""docs/settings.md has every setting once, as the code has it; and settings that are named elsewhere are there."""

import re
from pathlib import Path

import pytest
import yaml

from slipway.pipelines.settings import fields, load_settings
from tests.docs import settings_page
from tests.docs.pages import ROOT, Block, blocks, inline, pages, replaced

NAMES = {field.name for field in fields()}
SECTIONS = {name.rpartition(".")[0] for name in NAMES} - {""}
NAMED = re.compile(rf"(?:{'|'.join(sorted(SECTIONS))})\.[a-z]\w*")
FILES = (".json", ".arrow", ".tsv")
YAML = [block for page in pages() for block in blocks(page, "yaml")]


def test_the_page_has_the_tables_of_the_settings() -> None:
    page = settings_page.PAGE
    fresh = replaced(page, settings_page.MARK, settings_page.tables())
    assert page.read_text("utf-8") == fresh, "run `python -m tests.docs.settings_page`"


def test_every_setting_is_on_the_page_once() -> None:
    text = settings_page.PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)


def test_the_basic_settings_are_there_and_few() -> None:
    assert set(settings_page.BASIC) <= NAMES
    assert len(settings_page.BASIC) < len(NAMES) / 2


def test_every_section_has_a_title() -> None:
    assert set(settings_page.SECTIONS) == SECTIONS | {""}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_are_there(page: Path) -> None:
    told = [code.removeprefix("--set ") for code in inline(page)]
    named = {match[0] for match in map(NAMED.match, told) if match and not match[0].endswith(FILES)}
    assert named - NAMES == set()


@pytest.mark.parametrize("block", YAML, ids=str)
def test_settings_files_that_are_shown_can_be_used(block: Block, tmp_path: Path) -> None:
    (tmp_path / "slipway.yaml").write_text(block.code, "utf-8")
    assert yaml.safe_load(block.code)
    load_settings(tmp_path / "slipway.yaml")
