"""The command `slipway init`, which looks at the user's data and writes a commented settings file for them."""

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
"""The settings that the file lists. Those that need no change are comments."""


def init(source: Path | None, output: Path, force: bool, console: Console) -> None:
    """Write a settings file, and print what the columns of the data look like.

    Args:
        source: a data file or a folder of data files; None writes a file for the sample data.
        output: the file to write.
        force: replace an existing file.
        console: shows the columns.

    Raises:
        BadInput: the file exists or cannot be written, or the data cannot be read.
    """
    if output.exists() and not force:
        raise BadInput(f"{output} is there already; give another --output, or --force to write over it")
    proposal = propose(str(source)) if source else None
    if proposal:
        show(proposal, console)
    try:
        output.write_text(document(proposal), "utf-8")
    except OSError as error:
        raise BadInput(f"{output} cannot be written ({error.strerror}); give another --output") from error
    load_settings(output)  # raises if the file that was written is no valid settings file
    console.print(f"wrote {escape(str(output))}; look at it, then: slipway check · slipway run", highlight=False)


def show(proposal: Proposal, console: Console) -> None:
    """Print the columns, and which of them are proposed as text and as label."""
    roles = {proposal.settings.text_column: "[bold]text[/]", proposal.settings.label_column: "[bold]label[/]"}
    table = Table("column", "taken as", "values", "characters", "for example", box=None, pad_edge=False)
    for column in proposal.columns:
        example = escape(column.example[:50] + ("…" if len(column.example) > 50 else ""))
        numbers = (f"{column.values:,}", f"{column.length:.0f}")
        table.add_row(escape(column.name), roles.get(column.name, ""), *numbers, example)
    console.print(table)
    console.print(
        f"{proposal.rows:,} rows looked at; {escape(_classes(proposal.column(proposal.settings.label_column)))}",
        highlight=False,
    )


def document(proposal: Proposal | None) -> str:
    """The text of the settings file; without a proposal, all settings are comments."""
    values = _values(proposal) if proposal else {}
    lines = ["# Settings of Slipway. What is left out has its default; `slipway settings` shows them all."]
    section = ""
    for field in _shown():
        head, dot, name = field.name.rpartition(".")
        if head != section:
            lines += ["", f"{head}:"]
            section = head
        has_value = field.name in values
        text = as_yaml(values[field.name] if has_value else field.default)
        comment = "" if has_value else "# "
        lines += [f"{'  ' * bool(dot)}# {_meaning(field)}", f"{'  ' * bool(dot)}{comment}{name}: {text}"]
    if proposal:
        lines[1:1] = [
            f"# {proposal.rows:,} rows looked at: {_classes(proposal.column(proposal.settings.label_column))}."
        ]
    return "\n".join(lines) + "\n"


def _shown() -> Iterator[FieldDescription]:
    """The settings that the file lists. Those without a section come first."""
    known = {field.name: field for field in fields()}
    listed = {*SHOWN, *(f"data.{name}" for name in ("format", "delimiter", "header"))}
    yield from (known[name] for name in known if name in listed and "." not in name)
    yield from (known[name] for name in known if name in listed and "." in name)


def _values(proposal: Proposal) -> dict[str, object]:
    """The settings that the file gives, by name: model, source and columns, and what differs from the defaults."""
    settings, defaults = proposal.settings, DataSettings()
    named = {"source": settings.source, "text_column": settings.text_column, "label_column": settings.label_column}
    others = {
        name: getattr(settings, name)
        for name in ("delimiter", "header")
        if getattr(settings, name) != getattr(defaults, name)
    }
    return {"model_name": _model_name(settings.source)} | {
        f"data.{name}": value for name, value in (named | others).items()
    }


def _model_name(source: str) -> str:
    """A name for the model, made from the name of the data file."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower()).strip("-")
    return name[:42].strip("-") if re.match("[a-z]", name) else f"model-{name}"[:42].strip("-")


def _classes(column: Column) -> str:
    known = sum(count for _, count in column.commonest)
    listed = ", ".join(f"{value[:30]} ({count:,})" for value, count in column.commonest)
    more = ", …" if column.values > len(column.commonest) else ""
    missing = f"; {column.missing:,} rows without a label" if column.missing else ""
    return f"{column.values} classes: {listed}{more}{missing}" if known else "no classes"


def _meaning(field: FieldDescription) -> str:
    return field.meaning + (f" ({field.unit})" if field.unit else "")
