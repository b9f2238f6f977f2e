"""The `slipway` command."""

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from components.errors import SlipwayError
from pipelines.places import Places
from pipelines.settings import DEFAULT_FILE, SlipwaySettings, load_settings, settings_table

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    help="Labelled text in, a small signed model under live canary traffic out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

Config = Annotated[Path | None, typer.Option("--config", help=f"Settings file; {DEFAULT_FILE} is read when it exists.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override one setting; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function a subcommand whose Slipway errors are one message and an exit code."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SlipwayError as error:
            fail(error)

    app.command()(guarded)
    return guarded


def fail(error: SlipwayError) -> NoReturn:
    """Print an error and leave with its exit code."""
    errors.print(f"[bold red]{type(error).__name__}[/]:", end=" ")
    errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(error.exit_code)


def settings_of(config: Path | None, overrides: list[str] | None) -> tuple[SlipwaySettings, Places]:
    """The resolved settings and the places of this machine."""
    places = Places.here()
    return places.resolved(load_settings(config, overrides or [])), places


@command
def run(config: Config = None, overrides: Overrides = None) -> None:
    """Run the whole pipeline here: from labelled text to a served model, and a report.

    Exit codes: 0 delivered, 1 failure, 2 bad input, 3 gate refused, 4 rolled back, 5 rollout held.
    """
    from pipelines.runs import run_here

    settings, places = settings_of(config, overrides)
    try:
        outcome, report = run_here(settings, places, console)
    except KeyboardInterrupt:
        errors.print("interrupted; the next `slipway run` goes on from the last checkpoint")
        raise typer.Exit(130) from None
    console.print(f"\n[bold]{outcome.title}[/]:", end=" ")
    console.print(outcome.sentence, markup=False, highlight=False, soft_wrap=True)
    if outcome.exit_code == 0:
        console.print('try: slipway predict "my parcel never came" · slipway status · slipway stop', highlight=False)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
    raise typer.Exit(outcome.exit_code)


@command
def compile(
    output: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("slipway-pipeline.yaml"),
) -> None:
    """Write the pipeline as YAML, for the Kubeflow Pipelines UI."""
    from kfp import compiler

    from pipelines.pipeline import pipeline

    compiler.Compiler().compile(pipeline, str(output))
    console.print(f"wrote {output}")


@command
def settings() -> None:
    """Print every setting with default, unit and meaning, as a Markdown table."""
    print(settings_table())


@command
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts; '-' reads one per line from standard input.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 3,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC instead of REST.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the served model for the label of texts, over the V2 inference protocol."""
    from components.rollout import control

    inputs = [line.rstrip("\n") for line in sys.stdin if line.strip()] if texts == ["-"] else texts
    predictions = control.client(Places.here().service, grpc=grpc).predict(inputs)
    if as_json:
        rows = zip(inputs, predictions, strict=True)
        print(json.dumps([{"text": text, **prediction._asdict()} for text, prediction in rows], ensure_ascii=False))
        return
    for text, prediction in zip(inputs, predictions, strict=True):
        ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:top]
        console.print(f"[bold]{prediction.label}[/]", end="  ")
        console.print(
            "  ".join(f"{label} {probability:.3f}" for label, probability in ranked), end="  ", highlight=False
        )
        console.print(text if len(inputs) > 1 else "", markup=False, highlight=False, style="dim")


@command
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is served: versions, shares of traffic, health."""
    from components.rollout import control

    service = Places.here().service
    while True:
        found = control.status(service)
        if as_json:
            print(json.dumps(found, ensure_ascii=False))
        else:
            show_status(found)
        if not watch:
            break
        time.sleep(1)
        console.clear()
    raise typer.Exit(0 if found["healthy"] else 1)


def show_status(found: dict[str, Any]) -> None:
    """Print a service's status for people."""
    console.print(found, highlight=False)


@command
def start(config: Config = None, overrides: Overrides = None) -> None:
    """Serve the champion again after `slipway stop` or a restart of the machine."""
    from components.rollout import control

    control.start(Places.here().service)
    console.print("serving")


@command
def stop() -> None:
    """End the served model's processes; `slipway start` brings them back."""
    from components.rollout import control

    console.print("stopped" if control.stop(Places.here().service) else "nothing was running")
