"""The pages of the documentation, and what is shown on them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OWN = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "manifests/README.md", "serving/README.md")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (?P<kind>run|file): (?P<words>.*) -->\s*$")


class Block(NamedTuple):
    """A block of code on a page."""

    page: Path
    language: str
    code: str
    mark: str = ""
    """Of a line `<!-- run: … -->` or `<!-- file: … -->` right above: what stands after the colon."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.code.strip().splitlines()[0][:60]}"


def pages() -> list[Path]:
    """All pages for people: the site, the READMEs, and what contributors read."""
    found = [ROOT / name for name in OWN]
    for pattern in ("docs/**/*.md", "components/*/README.md", "pipelines/README.md", "benchmarks/*/README.md"):
        found += sorted(ROOT.glob(pattern))
    return found


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The blocks of a page in some languages."""
    text = page.read_text("utf-8")
    for fence in FENCE.finditer(text):
        if fence["language"] in languages:
            lines = [line.removeprefix(fence["indent"]) for line in fence["code"].splitlines(keepends=True)]
            mark = MARK.search(text[: fence.start()])
            yield Block(page, fence["language"], "".join(lines), mark["words"] if mark else "")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text("utf-8"))


def inline(page: Path) -> list[str]:
    """What stands between single backticks on a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def replaced(page: Path, name: str, content: str) -> str:
    """A page with other content between its marks `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text("utf-8")
    before, start, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->\n")
    if not start or not end:
        raise ValueError(f"{page} has no lines <!-- {name} --> and <!-- /{name} -->")
    return f"{before}{start}{content}{end}{after}"
