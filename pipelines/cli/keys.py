"""The command `slipway keys`, which makes, lists and revokes the API keys of model servers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import KeyEntry, Scope
from slipway.components.errors import SlipwayError
from slipway.components.rollout.local import access
from slipway.pipelines.home import Places

P = ParamSpec("P")
R = TypeVar("R")
app = typer.Typer(help="The API keys of model servers; a server takes a changed file within a second or two.")
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

KeyFile = Annotated[
    Path | None,
    typer.Option("--file", help="The file of keys. By default, that of the service on this machine."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def command(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as a subcommand. A Slipway error becomes one message and an exit code."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except SlipwayError as error:
                errors.print(f"[bold red]{type(error).__name__}[/]:", end=" ")
                errors.print(str(error), markup=False)
                raise typer.Exit(error.exit_code) from None

        app.command(name)(guarded)
        return guarded

    return register


@command("add")
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
    errors.print(f"key {entry.id} of {identity} in {path}; it is shown only now, and kept as a hash", markup=False)


@command("list")
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
    console.print(table)


@command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the key, as `slipway keys list` shows it.")],
    file: KeyFile = None,
) -> None:
    """Take a key back."""
    entry = api_keys.revoke(_path(file), key_id)
    console.print(f"revoked key {entry.id} of {entry.identity}", markup=False)


def _path(file: Path | None) -> Path:
    return file or access.key_file(Places.here().service)


def _entry_json(entry: KeyEntry) -> dict[str, object]:
    """An entry as JSON, without the hash of its secret."""
    return entry.model_dump(mode="json", exclude={"sha256"})
