"""The commands for the served model: predict, explain, status, start, stop, promote, rollback."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.components.clients.v2_client import Client
from slipway.pipelines.cli import explain as explanations
from slipway.pipelines.cli.commands import AsJson, Config, Overrides, Target, command, console, errors, settings_of
from slipway.pipelines.cli.status import show
from slipway.pipelines.home import Places

if TYPE_CHECKING:
    from slipway.components.rollout.served_model import ServedModel

app = typer.Typer()


def served_model_of(config: Path | None, overrides: list[str] | None, target: str | None) -> "ServedModel":
    """The served model that the settings describe: on this machine or in a cluster."""
    from slipway.pipelines.served_model import served_model

    return served_model(*settings_of(config, overrides, target))


@command(app)
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts; '-' reads one per line from standard input.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to show.")] = 3,
    grpc: Annotated[bool, typer.Option("--grpc", help="Ask over gRPC instead of REST.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
    target: Target = None,
) -> None:
    """Ask the served model for the label of texts, over the V2 inference protocol."""
    inputs = explanations.given_texts(texts)
    predictions = served_model_of(config, overrides, target).client(grpc).predict(inputs)
    if as_json:
        rows = zip(inputs, predictions, strict=True)
        print(json.dumps([{"text": text, **prediction._asdict()} for text, prediction in rows], ensure_ascii=False))
        return
    for text, prediction in zip(inputs, predictions, strict=True):
        ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:top]
        console.print(prediction.label, end="  ", markup=False, highlight=False, style="bold")
        shares = "  ".join(f"{label} {probability:.3f}" for label, probability in ranked)
        console.print(shares, end="  ", markup=False, highlight=False)
        console.print(text if len(inputs) > 1 else "", markup=False, highlight=False, style="dim")


@command(app)
def explain(
    texts: Annotated[list[str], typer.Argument(help="One or more texts; '-' reads one per line from standard input.")],
    top: Annotated[int, typer.Option(min=1, help="How many labels to explain.")] = 1,
    picture: Annotated[
        Path | None, typer.Option("--html", help="Where the picture goes; by default to the home.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
    target: Target = None,
) -> None:
    """Show which words of texts speak for the label that the served model gives them, in colour and as a picture."""
    client = served_model_of(config, overrides, target).client()
    assert isinstance(client, Client)  # explanations are served over REST only
    inputs = explanations.given_texts(texts)
    if as_json:
        print(explanations.as_json(client, inputs, top))
        return
    explanations.explain(client, inputs, top, picture or Places.here().home / explanations.PICTURE, console)


@command(app)
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second until interrupted.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First make the registry's aliases say what is served.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
    overrides: Overrides = None,
    target: Target = None,
) -> None:
    """Say what is served: versions, shares of traffic, health."""
    model = served_model_of(config, overrides, target)
    if repair:
        errors.print(model.repair(), highlight=False)
    while True:
        current = model.status()
        if as_json:
            print(current.model_dump_json())
        else:
            show(current, console)
        if not watch:
            break
        time.sleep(1)
        console.clear()
    raise typer.Exit(0 if current.healthy else 1)


@command(app)
def start(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Serve the champion again after `slipway stop` or a restart of the machine."""
    from slipway.pipelines.served_model import on_this_machine

    model = on_this_machine(*settings_of(config, overrides, target), "started")
    model.start()
    show(model.status(), console)


@command(app)
def stop(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """End the served model's processes; `slipway start` brings them back."""
    from slipway.pipelines.served_model import on_this_machine

    model = on_this_machine(*settings_of(config, overrides, target), "stopped")
    console.print("stopped" if model.stop() else "nothing was running")


@command(app)
def promote(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Give the challenger all traffic now, whatever the evidence says."""
    console.print(served_model_of(config, overrides, target).promote(), markup=False, highlight=False)


@command(app)
def rollback(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Take the challenger out of traffic; without one, serve the version before the champion again."""
    console.print(served_model_of(config, overrides, target).rollback(), markup=False, highlight=False)
