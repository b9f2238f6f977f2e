"""The `slipway` command."""

from importlib import metadata
from typing import Annotated

import typer

from slipway.pipelines.cli import audit, delivery, history, keys, service

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
for commands in (delivery.app, service.app, history.app):
    app.add_typer(commands)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys", no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"slipway {metadata.version('slipway')}")
        raise typer.Exit


@app.callback()
def slipway(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Labelled text in, a small signed model under live canary traffic out."""
