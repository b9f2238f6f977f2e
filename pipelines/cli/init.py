"""`slipway init`: a commented settings file for one's own data, and what was found in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slipway.components.errors import BadInput
from slipway.components.prepare_data.columns import Column, Proposal, propose
from slipway.components.prepare_data.settings import DataSettings
from slipway.pipelines.pipeline_parameters import FIELDS
from slipway.pipelines.settings import FieldDescription, as_yaml, fields, load_settings

SHOWN = (
    *FIELDS.values(),
    "target",
    "tracking_uri",
    "train.max_length",
    "train.seed",
    "compress.distil",
    "registry.store",
    "rollout.http_port",
    "rollout.grpc_port",
)
"""What the file shows, as comments where nothing is to be changed."""


def init(source: Path | None, output: Path, force: bool, console: Console) -> None:
    """Write a settings file, and say what the columns of the data look like.

    Args:
        source: a data file or a folder of them; without one the file is for the sample.
        output: the file.
        force: write over one that is there.
        console: shows what was found.

    Raises:
        BadInput: there is such a file, it cannot be written, or the data cannot be read.
    """
    if output.exists() and not force:
        raise BadInput(f"{output} is there already; give another --output, or --force to write over it")
    found = propose(str(source)) if source else None
    if found:
        show(found, console)
    try:
        output.write_text(document(found), "utf-8")
    except OSError as error:
        raise BadInput(f"{output} cannot be written ({error.strerror}); give another --output") from error
    load_settings(output)
    console.print(f"wrote {escape(str(output))}; look at it, then: slipway check · slipway run", highlight=False)


def show(found: Proposal, console: Console) -> None:
    """Print the columns, and which are taken for what."""
    roles = {found.settings.text_column: "[bold]text[/]", found.settings.label_column: "[bold]label[/]"}
    table = Table("column", "taken as", "values", "characters", "for example", box=None, pad_edge=False)
    for column in found.columns:
        example = escape(column.example[:50] + ("…" if len(column.example) > 50 else ""))
        counted = (f"{column.values:,}", f"{column.length:.0f}")
        table.add_row(escape(column.name), roles.get(column.name, ""), *counted, example)
    console.print(table)
    console.print(
        f"{found.rows:,} rows looked at; {escape(_classes(found.column(found.settings.label_column)))}", highlight=False
    )


def document(found: Proposal | None) -> str:
    """The text of the file."""
    chosen = _values(found) if found else {}
    lines = ["# Settings of Slipway. What is left out has its default; `slipway settings` shows them all."]
    section = ""
    for field in _shown():
        head, dot, name = field.name.rpartition(".")
        if head != section:
            lines += ["", f"{head}:"]
            section = head
        given = field.name in chosen
        text = as_yaml(chosen[field.name] if given else field.default)
        mark = "" if given else "# "
        lines += [f"{'  ' * bool(dot)}# {_meaning(field)}", f"{'  ' * bool(dot)}{mark}{name}: {text}"]
    if found:
        lines[1:1] = [f"# {found.rows:,} rows looked at: {_classes(found.column(found.settings.label_column))}."]
    return "\n".join(lines) + "\n"


def _shown() -> Iterator[FieldDescription]:
    """The settings of the file, those without a section first."""
    known = {field.name: field for field in fields()}
    used = {*SHOWN, *(f"data.{name}" for name in ("format", "delimiter", "header"))}
    yield from (known[name] for name in known if name in used and "." not in name)
    yield from (known[name] for name in known if name in used and "." in name)


def _values(found: Proposal) -> dict[str, object]:
    settings, usual = found.settings, DataSettings()
    named = {"source": settings.source, "text_column": settings.text_column, "label_column": settings.label_column}
    more = {
        name: getattr(settings, name)
        for name in ("delimiter", "header")
        if getattr(settings, name) != getattr(usual, name)
    }
    return {"model_name": _model_name(settings.source)} | {
        f"data.{name}": value for name, value in (named | more).items()
    }


def _model_name(source: str) -> str:
    """A name for the model, after the data."""
    words = re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower()).strip("-")
    return words[:42].strip("-") if re.match("[a-z]", words) else f"model-{words}"[:42].strip("-")


def _classes(column: Column) -> str:
    known = sum(count for _, count in column.commonest)
    listed = ", ".join(f"{value[:30]} ({count:,})" for value, count in column.commonest)
    more = ", …" if column.values > len(column.commonest) else ""
    missing = f"; {column.missing:,} rows without a label" if column.missing else ""
    return f"{column.values} classes: {listed}{more}{missing}" if known else "no classes"


def _meaning(field: FieldDescription) -> str:
    return field.meaning + (f" ({field.unit})" if field.unit else "")
