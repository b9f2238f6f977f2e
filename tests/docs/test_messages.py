"""The messages of docs/troubleshooting.md are those of the code."""

import ast
import re

import pytest

from tests.docs.pages import ROOT

GAP = "\0"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
REASONS = re.findall(r"^\| (.*?) \|", OPERATIONS.partition("| reason |")[2].partition("\n\n")[0], re.MULTILINE)
"""Why a rollout is held."""
HEADINGS = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
OWN = ("components", "pipelines", "serving")


def templates() -> list[str]:
    """Every text of the code; what is filled in is a gap."""
    found = []
    for folder in OWN:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


TEMPLATES = templates()


def is_told(heading: str) -> bool:
    """Whether the code has a text like a heading, whose `…` stands for anything."""
    parts = [part.strip() for part in heading.split("…")]
    whole = re.compile(r"[\s\S]*?".join(map(re.escape, parts)))
    return any(whole.search(text) for text in TEMPLATES if all(part in text for part in parts))


def test_there_are_messages() -> None:
    assert len(HEADINGS) > 50
    assert len(REASONS) > 5


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_code_has_the_message(heading: str) -> None:
    assert is_told(heading), f"no message of the code is like {heading!r}"


@pytest.mark.parametrize("reason", REASONS)
def test_the_code_has_the_reason(reason: str) -> None:
    assert is_told(reason), f"no rollout is held because {reason!r}"


def test_another_message_is_found_out() -> None:
    assert not is_told("… has no column …; set … to another")


def test_each_message_is_there_once() -> None:
    assert len(set(HEADINGS)) == len(HEADINGS)
