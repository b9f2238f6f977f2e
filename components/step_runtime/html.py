"""HTML for the sections of reports and for whole pages. Values are escaped. Figures are inline SVG.

The same page is shown in a browser's window and in the panel of the Kubeflow Pipelines UI. The panel is an iframe of
about 500 x 430 pixels, whose sandbox loads nothing from other addresses. So the page has no links to styles or images.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Literal
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tone = Literal["good", "bad", "neutral"]
Draw = Callable[[float], "Figure"]
"""Draws a figure for a width in inches, `WIDE` or `NARROW`."""

WIDE, NARROW = 10.0, 4.9
"""Widths of figures in inches: 960 pixels for a window, and 470 for the panel, where 9 points are 12 pixels high."""
SMALL = 9
"""Size of the smallest letters in a figure, in points."""
LONG_FACT = 28
"""A fact with more characters has a row of its own on a narrow page."""
LONG_CELL = 40
"""A cell with more characters is prose. It gets a least width, so that it is not wrapped after each word."""

STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --good: #1a7f4b; --bad: #b3261e;
        --neutral: #2f5d9e; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; padding: 24px; max-width: 1080px;
       overflow-wrap: anywhere; }
h1 { font-size: 28px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 40px 0 12px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 8px; }
body > h2:first-child { margin-top: 0; padding-top: 0; border: 0; }
p { margin: 8px 0; }
pre { white-space: pre-wrap; }
figure { margin: 12px 0; } figure svg { max-width: 100%; height: auto; }
.narrow { display: none; }
figcaption, .soft { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top;
         overflow-wrap: break-word; max-width: 24em; }
td.long { min-width: 15em; max-width: 32em; } td.numbers { white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
tr.chosen td { font-weight: 600; background: #eef6f1; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 12px 0; }
.facts div { border: 1px solid var(--line); border-radius: 8px; padding: 8px 14px; }
.facts b { display: block; font-size: 18px; } .facts span { color: var(--soft); font-size: 13px; }
.notice { border-left: 4px solid var(--neutral); background: #f5f7fa; padding: 8px 14px; margin: 12px 0; }
.notice.good { border-color: var(--good); } .notice.bad { border-color: var(--bad); background: #fdf3f2; }
nav a { margin-right: 14px; color: var(--neutral); text-decoration: none; }
.words span { display: inline-block; margin: 2px; padding: 2px 6px; border-radius: 4px; text-align: center; }
.words small { display: block; color: var(--ink); font-size: 11px; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f5f7fa; padding: 8px 14px; font-size: 13px; }
details { margin: 12px 0; } summary { cursor: pointer; color: var(--neutral); }
.scroll { overflow-x: auto; }
@media (max-width: 860px) {
  .wide { display: none; } .narrow { display: block; } .narrow svg { width: 100%; max-width: 620px; }
}
@media (max-width: 640px) {
  body { font-size: 14px; line-height: 1.4; padding: 10px 12px; }
  h1 { font-size: 19px; } h2 { font-size: 17px; margin: 24px 0 8px; padding-top: 12px; }
  h3 { font-size: 15px; margin: 16px 0 6px; }
  .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 6px; margin: 8px 0; }
  .facts div { padding: 5px 9px; } .facts .row { grid-column: 1 / -1; } .facts b { font-size: 15px; line-height: 1.25; }
  .facts span, figcaption, .soft { font-size: 12px; line-height: 1.3; display: block; }
  .notice { padding: 6px 10px; margin: 8px 0; }
  table { font-size: 13px; margin: 8px 0; } th, td { padding: 3px 10px 3px 0; max-width: 15em; }
  td.long { min-width: 17em; max-width: 22em; }
}
"""


def document(title: str, body: str) -> str:
    """A whole page around a body."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """A heading; sections start with level 2."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def notice(text: str, tone: Tone) -> str:
    """A sentence that is set off."""
    return f'<div class="notice {tone}">{escape(text)}</div>'


def facts(values: Mapping[str, str]) -> str:
    """A row of large values with their names."""
    return (
        '<div class="facts">'
        + "".join(
            f"<div{' class=row' if len(v) > LONG_FACT else ''}><b>{escape(v)}</b><span>{escape(k)}</span></div>"
            for k, v in values.items()
        )
        + "</div>"
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], chosen: int | None = None) -> str:
    """A table; the row with index `chosen` is set off."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    body = "".join(
        f"<tr{' class=chosen' if index == chosen else ''}>"
        + "".join(f"<td{_cell_class(cell)}>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def code(text: str) -> str:
    """Lines of a program or a log, without changes."""
    return f"<pre>{escape(text)}</pre>"


def _cell_class(cell: str) -> str:
    """The class of a cell: `long` for prose, which needs room to wrap, and `numbers` for what must not wrap."""
    if len(cell) > LONG_CELL:
        return " class=long"
    return " class=numbers" if cell and not any(letter.isalpha() for letter in cell) else ""


def details(summary: str, body: str) -> str:
    """HTML that is hidden until the reader opens its summary."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def shortened(label: str, width: float) -> str:
    """Shorten a label that would leave too little room for the picture. East Asian letters count twice.

    Args:
        label: of an axis, say.
        width: of the figure in inches, `WIDE` or `NARROW`.
    """
    letters_wide, limit = 0, 28 if width == WIDE else 18
    for index, letter in enumerate(label):
        letters_wide += 2 if east_asian_width(letter) in "WF" else 1
        if letters_wide > limit:
            return f"{label[: index - 1]}…"
    return label


def figure(draw: Draw, caption: str) -> str:
    """A figure with its caption. It is drawn for both widths; the page shows the one that fits."""
    drawings = "".join(
        f'<div class="{name}">{_svg(draw(width), f"{caption} {name}")}</div>'
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    )
    label = escape(caption)
    return f'<figure role="img" aria-label="{label}">{drawings}<figcaption>{label}</figcaption></figure>'


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure for a page, sizes in inches."""
    import matplotlib  # imported here, since every process loads this module and few draw
    from matplotlib.figure import Figure

    matplotlib.rcParams["text.parse_math"] = False  # labels and texts may have dollar signs
    return Figure(figsize=(width, height), layout="constrained")


def _svg(drawing: "Figure", salt: str) -> str:
    """A figure as inline SVG, with text in the fonts of the page.

    The salt makes the ids in it differ from those of other figures on the page. Without a date, the same figure always
    gives the same text.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]
