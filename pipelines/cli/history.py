"""The commands that show what is there on this machine: runs, logs, report, settings, public-key."""

import json
from pathlib import Path
from typing import Annotated

import typer

from slipway.pipelines.cli.commands import AsJson, Config, Overrides, Target, command, console, settings_of
from slipway.pipelines.home import Places
from slipway.pipelines.settings import readable_settings, settings_table

app = typer.Typer()
RunName = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Name of a run, or how it begins; by default the newest one.")
]


@command(app)
def runs(as_json: AsJson = False) -> None:
    """List the runs of this home, the newest first, and how they ended."""
    from slipway.pipelines.cli import runs as run_records  # loads the report, which takes long for all other commands

    listed = list(run_records.all_runs(Places.here()))
    if as_json:
        print(json.dumps([run.row() for run in listed], ensure_ascii=False))
    else:
        run_records.show(listed, console)


@command(app)
def logs(
    name: RunName = "",
    step: Annotated[str, typer.Option(help="Of which step; by default the one that failed, else the last.")] = "",
) -> None:
    """Print the log of a step of a run."""
    from slipway.pipelines.cli import runs as run_records

    print(run_records.log_of(run_records.find_run(Places.here(), name), step.replace("-", "_")), end="")


@command(app)
def report(
    name: RunName = "",
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Print the path of a run's report."""
    from slipway.pipelines.cli import runs as run_records

    path = run_records.report_of(run_records.find_run(Places.here(), name))
    console.print(str(path), markup=False, highlight=False)
    if show:
        run_records.open_page(path)


@command(app)
def settings(
    section: Annotated[str, typer.Argument(metavar="[SECTION]", help="Such as `train`; by default all sections.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print all as a table in Markdown.")] = False,
) -> None:
    """Print settings with default, unit and meaning."""
    if markdown:
        print(settings_table())
        return
    for line in readable_settings(section, console.width):
        console.print(line, markup=False, highlight=False)


@command(app)
def public_key(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Print the public key that servers verify bundles with: of the key pair that signs, or of the key in KMS."""
    from slipway.components.artifacts import signing

    registry = settings_of(config, overrides, target)[0].registry
    print(signing.key_pair(Path(registry.keys), registry.signing_key).public_key.read_text("utf-8"), end="")
