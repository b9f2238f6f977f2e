"""docs/python.md tells the public names as they are; tests/serving/test_python_page.py runs its examples."""

import ast
import inspect
import re
from dataclasses import fields

import pytest

import slipway
from slipway.pipelines.python_api import given
from tests.docs.pages import ROOT, Block, blocks

PAGE = ROOT / "docs" / "python.md"
TEXT = PAGE.read_text("utf-8")
SHOWN = list(blocks(PAGE, "python"))


def table(head: str) -> list[str]:
    """The first cells of the table whose head begins so, without backticks."""
    rows = TEXT.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_every_public_name_is_told() -> None:
    assert sorted(table("name")) == sorted(slipway.__all__)


def test_the_arguments_of_both_clients_are_told() -> None:
    for client in (slipway.Client, slipway.AsyncClient):
        assert sorted(table("argument")) == sorted(inspect.signature(client).parameters)


def test_the_fields_of_a_result_are_told() -> None:
    assert table("field of `RunResult`") == [*(field.name for field in fields(slipway.RunResult)), "delivered"]


def test_the_errors_are_told_with_their_kind() -> None:
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", TEXT, re.MULTILINE)
    there = [name for name in slipway.__all__ if inspect.isclass(kind := getattr(slipway, name))]
    errors = {name: kind.__base__ for name in there if issubclass(kind := getattr(slipway, name), slipway.SlipwayError)}
    assert {name: base.__name__ for name, base in errors.items() if base is not Exception} == dict(told)


def test_all_methods_of_a_client_are_told() -> None:
    for client, own in ((slipway.Client, "close"), (slipway.AsyncClient, "aclose")):
        methods = [name for name in vars(client) if not name.startswith("_")]
        assert own in methods
        for name in methods:
            assert re.search(rf"`{name}`|client\.{name}\(", TEXT), name


@pytest.mark.parametrize("block", [block for block in SHOWN if "slipway.run" in block.code], ids=str)
def test_the_settings_of_a_run_that_is_shown_are_good(block: Block) -> None:
    calls = [node for node in ast.walk(ast.parse(block.code)) if isinstance(node, ast.Call)]
    (asked,) = [ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "slipway.run"]
    assert given(ROOT / asked if isinstance(asked, str) else asked)
