"""Pages are readable in the panel of the Kubeflow Pipelines UI: an iframe of about 500 x 430 pixels, and at 1280."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from slipway.components.report import step
from slipway.components.step_runtime import html
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Record

PANEL = 500
"""Pixels of width; the page's margins and a scroll bar go off it."""
SMALLEST = 9
"""Points of a letter in a figure that is drawn for the panel: 12 pixels before it is scaled."""
CLASSES = (2, 77)
STEPS = tuple(step.SECTIONS)

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # the browser's fonts have them


@pytest.fixture(scope="session")
def pages(results_of: Callable[[int], dict[str, Any]]) -> dict[tuple[str, int], str]:
    """The page of each step and of the whole run, for few and for many classes."""
    found = {}
    for classes in CLASSES:
        results = results_of(classes)
        for name, section in step.SECTIONS.items():
            found[name, classes] = html.document(name, section(results[name]))
        events = [
            Event(time=60.0 * place + ended, step=name, kind="finished" if ended else "started")
            for place, name in enumerate(results)
            for ended in (0, 50)
        ]
        found["run", classes] = step.render(Record(None, results, None, events), "a" * 60, "b" * 60)
    return found


class Outline(HTMLParser):
    """What of a page can be held without a browser."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.tables: list[list[str]] = []
        self.scripts = 0
        self.external: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "table":
            self.tables.append([name for _, name in self.open])
        self.scripts += tag == "script"
        self.external += [values[name] for name in ("src", "href") if values.get(name, "#")[0] != "#"]
        self.styles.append(values.get("style", ""))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append((tag, values.get("class", "")))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", [*STEPS, "run"])
def test_a_page_needs_no_width_no_script_and_nothing_from_elsewhere(
    pages: dict[tuple[str, int], str], name: str, classes: int
) -> None:
    html = pages[name, classes]
    outline = Outline()
    outline.feed(re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL))
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert all("scroll" in around for around in outline.tables), "a table outside of a scroll container"
    assert outline.scripts == 0
    assert outline.external == []
    widths = re.findall(r"(?<!max-)width:\s*(\d+)px", " ".join([*outline.styles, html[: html.index("</style>")]]))
    assert not [width for width in widths if int(width) > PANEL - 20]


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", [*STEPS, "run"])
def test_every_figure_has_a_drawing_for_the_panel_with_letters_that_can_be_read(
    pages: dict[tuple[str, int], str], name: str, classes: int
) -> None:
    html = pages[name, classes]
    narrow = re.findall(r'<div class="narrow">(<svg.*?</svg>)', html, re.DOTALL)
    assert len(narrow) == html.count("<figure") == html.count('<div class="wide"><svg')
    for drawing in narrow:
        width = re.search(r'<svg[^>]* width="([\d.]+)pt"', drawing)
        assert width
        assert float(width[1]) <= 0.75 * PANEL
        sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", drawing)]
        assert min(sizes) >= SMALLEST


@pytest.mark.parametrize("name", [name for name in STEPS if name != "train"])
def test_the_verdict_comes_first(pages: dict[tuple[str, int], str], name: str) -> None:
    body = pages[name, 77].split("<body>")[1]
    assert 0 < body.find('class="notice') < body.find('class="facts"')


def test_many_classes_make_no_endless_picture(pages: dict[tuple[str, int], str]) -> None:
    tall = {}
    for name in STEPS:
        heights = [float(height) for height in re.findall(r'<svg height="([\d.]+)pt"', pages[name, 77])]
        heights += [float(height) for height in re.findall(r'<svg[^>]* height="([\d.]+)pt"', pages[name, 77])]
        tall[name] = max(heights, default=0)
    assert 0 < max(tall.values()) < 1900, tall  # of 20 pictures of metrics in a rollout, below each other


MEASURE = """<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, inner = page.documentElement.clientWidth;  // without the scroll bar
    const parts = [...page.querySelectorAll(".facts div, .notice, h1, h2, h3, p, pre, figure svg")];
    const beyond = parts.filter(part => part.getBoundingClientRect().right > inner + 1).length;
    return [frame.title, inner, page.documentElement.scrollWidth, beyond];
  });
  document.body.textContent = `measured ${JSON.stringify(found)} end`;
})
</script>"""


def test_no_page_scrolls_sideways_in_a_browser(pages: dict[tuple[str, int], str], tmp_path: Path) -> None:
    """All pages in frames of both widths, as in the panel; what is folded away is opened."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium on the PATH: how wide the pages become was not seen")
    frames = [
        f'<iframe title="{name} {classes}" style="border: 0" width="{width}" height="430" '
        f'srcdoc="{escape(html.replace("<details>", "<details open>"))}"></iframe>'
        for (name, classes), html in pages.items()
        for width in (PANEL, 1280)
    ]
    harness = tmp_path / "frames.html"
    harness.write_text(f'<!doctype html><meta charset="utf-8"><body>{"".join(frames)}{MEASURE}', "utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", profile, "--dump-dom", harness.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    told = re.search(r"measured (.*) end", dom)
    assert told, "the browser did not load the pages"
    measured = json.loads(told[1])
    assert len(measured) == len(frames)
    assert [found for found in measured if found[2] > found[1] or found[3]] == []
