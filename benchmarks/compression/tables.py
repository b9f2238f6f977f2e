"""The results as Markdown tables."""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
STREAMS = "streams"
"""Of the ways to compute: as many inferences at the same time as there are cores."""
GROUPS = {
    "cumulative": "Each technique on top of the one before",
    "alone": "On their own",
    "instead": "What users would pick instead, from the same teacher",
    "speed": "For comparison of speed",
}


def markdown(results: dict[str, Any]) -> str:
    """One table for each way to compute, and the targets."""
    parts = [f"{results['machine']}; {results['texts']}; seeds {results['seeds']}."]
    for way in results["ways"]:
        parts += [f"\n### {titled(way).capitalize()}\n", _table(results["rows"], way)]
    parts += ["\n### Targets\n", _lines(["Target", "Wanted", "Measured", ""], results["targets"])]
    return "\n".join(parts)


def titled(way: str) -> str:
    """A way to compute, in words."""
    if way == STREAMS:
        return "a stream for each core"
    return f"one inference at a time, {way} thread{'s' if way != '1' else ''}"


def _table(rows: Sequence[Row], way: str) -> str:
    headers = ["", "Dev accuracy", "Kept, at least", "MB", "x smaller", "ms, batch 1 (p95)", "x faster", "its own gain"]
    headers += ["ms, batch 16 (p95)", "x faster", "its own gain"]
    lines = []
    for group, title in GROUPS.items():
        lines.append([f"**{title}**", *[""] * (len(headers) - 1)])
        lines += [_row(row, way) for row in rows if row["group"] == group]
    return _lines(headers, lines)


def _row(row: Row, way: str) -> list[str]:
    quality = ["", ""]
    if row.get("accuracy") is not None:
        quality = [f"{row['accuracy']:.2%}", f"{row['kept']:.2%}, {row['kept_at_least']:.2%}"]
    cells = [row["name"], *quality, f"{row['size'] / 1e6:.1f}", f"{row['smaller']:.1f}"]
    for batch in ("1", "16"):
        found = row["speed"][way][batch]
        gain = f"{found['gain']:.2f}" if found.get("gain") else ""
        cells += [f"{found['median_ms']:.2f} ({found['p95_ms']:.2f})", f"{found['faster']:.2f}", gain]
    return cells


def _lines(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
