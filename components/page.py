"""HTML for reports: every step's section and the whole page look alike. Values are escaped; figures are inline SVG."""

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams["text.parse_math"] = False  # labels and texts may have dollar signs

Tone = Literal["good", "bad", "neutral"]

STYLE = """
:root { color-scheme: light; --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --good: #1a7f4b; --bad: #b3261e;
        --neutral: #2f5d9e; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; padding: 24px; max-width: 1080px; }
h1 { font-size: 28px; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 40px 0 12px; padding-top: 16px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 24px 0 8px; }
p { margin: 8px 0; }
figure { margin: 12px 0; } figure svg { max-width: 100%; height: auto; }
figcaption, .soft { color: var(--soft); font-size: 13px; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
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
    """A sentence that must be seen."""
    return f'<div class="notice {tone}">{escape(text)}</div>'


def facts(values: Mapping[str, str]) -> str:
    """A row of large values with their names."""
    return (
        '<div class="facts">'
        + "".join(f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for k, v in values.items())
        + "</div>"
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], chosen: int | None = None) -> str:
    """A table; the row with index `chosen` is set off."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    body = "".join(
        f"<tr{' class=chosen' if index == chosen else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def code(text: str) -> str:
    """Lines of a program or a log, as they are."""
    return f"<pre>{escape(text)}</pre>"


def details(summary: str, body: str) -> str:
    """HTML that is folded away under a summary."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def figure(drawing: Figure, caption: str) -> str:
    """A matplotlib figure with its caption; fonts are those of the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": caption, "font.family": "sans-serif"}):
        drawing.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    return f'<figure role="img" aria-label="{escape(caption)}">{svg}<figcaption>{escape(caption)}</figcaption></figure>'
