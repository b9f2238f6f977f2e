"""The command `slipway keys`, which makes, lists and revokes the API keys of model servers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import KeyEntry, Scope
from slipway.components.rollout.local import access
from slipway.pipelines.cli.commands import AsJson, command, console, errors
from slipway.pipelines.home import Places

app = typer.Typer(help="The API keys of model servers; a server takes a changed file within a second or two.")

KeyFile = Annotated[
    Path | None,
    typer.Option("--file", help="The file of keys. By default, that of the service on this machine."),
]


@command(app, "add")
def add(
    identity: Annotated[str, typer.Argument(help="Whom the key is for; an identity may have several keys.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it allows; may be repeated.")] = None,
    days: Annotated[
        float | None, typer.Option(min=0.0, max=36500.0, help="Days until it expires; by default it does not.")
    ] = None,
    file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for an identity, and print it: it is shown only now."""
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) if days is not None else None
    path = _path(file)
    entry, key = api_keys.add(path, identity, scope or [Scope.PREDICT], expires=expires)
    if as_json:
        print(json.dumps({"key": key, **_entry_json(entry)}))
        return
    print(key)
    errors.print(
        f"key {entry.id} of {identity} in {path}; it is shown only now, and kept as a hash",
        markup=False,
        highlight=False,
    )


@command(app, "list")
def list_keys(file: KeyFile = None, as_json: AsJson = False) -> None:
    """Print the keys, without their secrets."""
    entries = api_keys.read(_path(file))
    if as_json:
        print(json.dumps([_entry_json(entry) for entry in entries]))
        return
    table = Table("id", "identity", "scopes", "expires", "state", box=None, pad_edge=False)
    for entry in entries:
        state = "good" if entry.valid_at(datetime.now(UTC)) else "not valid now"
        expires = f"{entry.expires:%Y-%m-%d %H:%M %Z}" if entry.expires else "never"
        table.add_row(entry.id, escape(entry.identity), ", ".join(entry.scopes), expires, state)
    console.print(table, highlight=False)


@command(app, "revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the key, as `slipway keys list` shows it.")],
    file: KeyFile = None,
) -> None:
    """Take a key back."""
    entry = api_keys.revoke(_path(file), key_id)
    console.print(f"revoked key {entry.id} of {entry.identity}", markup=False, highlight=False)


def _path(file: Path | None) -> Path:
    return file or access.key_file(Places.here().service)


def _entry_json(entry: KeyEntry) -> dict[str, object]:
    """An entry as JSON, without the hash of its secret."""
    return entry.model_dump(mode="json", exclude={"sha256"})
