"""The commands that make, check and run the pipeline: init, check, run, rollout, submit, compile."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from slipway.components.report.outcome import Outcome
from slipway.pipelines.cli.commands import (
    Config,
    Overrides,
    Target,
    command,
    console,
    errors,
    settings_of,
    unresolved_settings,
)
from slipway.pipelines.home import Places
from slipway.pipelines.settings import DEFAULT_FILE

app = typer.Typer()


@command(app)
def init(
    data: Annotated[
        Path | None, typer.Argument(help="A data file or a folder of them; without it, the sample that comes along.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The settings file to write.")] = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Look at a data file, and write a commented slipway.yaml that reads it."""
    from slipway.pipelines.cli import init as init_cli

    init_cli.init(data, output, force, console)


@command(app)
def check(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Look at everything that a run will need, without running it: data, encoder, store, keys, ports or cluster."""
    from slipway.components.prepare_data import usable

    settings, places = settings_of(config, overrides, target)
    usable.check_local(settings.data)
    from slipway.pipelines import preflight  # after the data: it loads the framework, which takes seconds

    preflight.check(settings, places.service)
    console.print(f"{preflight.summary(settings)}; `slipway run` can begin", markup=False, highlight=False)


@command(app)
def run(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Run the whole pipeline from here: from labelled text to a served model, and a report.

    Exit codes: 0 delivered, 1 failure, 2 bad input, 3 gate refused, 4 rolled back, 5 rollout held.
    """
    from slipway.pipelines.run_supervisor import run_here

    settings, places = settings_of(config, overrides, target)
    run_and_exit(lambda: run_here(settings, places, console))


@command(app)
def rollout(
    bundle: Annotated[Path, typer.Option(help="Folder of a signed bundle.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Dataset folder with probes; by default the one that the bundle was made from.")
    ] = None,
    config: Config = None,
    overrides: Overrides = None,
    target: Target = None,
) -> None:
    """Roll one signed bundle out, without the steps before. Exit codes as for `run`."""
    from slipway.pipelines.run_supervisor import roll_out_here

    settings, places = settings_of(config, overrides, target)
    run_and_exit(lambda: roll_out_here(bundle, dataset, settings, places, console))


def run_and_exit(run_to_end: Callable[[], tuple[Outcome, Path]]) -> NoReturn:
    """Run something to its end, print the outcome and exit with its code.

    Args:
        run_to_end: does the run; returns the outcome and the path of the report.
    """
    try:
        outcome, report = run_to_end()
    except KeyboardInterrupt:
        errors.print("interrupted; to run again goes on from the last checkpoint")
        raise typer.Exit(130) from None
    print_outcome_and_exit(
        outcome, report, 'try: slipway predict "my parcel never came" · slipway status · slipway stop'
    )


def print_outcome_and_exit(
    outcome: Outcome, report: Path | None, hint: str = "", lines: Sequence[str] = ()
) -> NoReturn:
    """Print how a run ended, and exit with its code.

    Args:
        outcome: of the run.
        report: path of its report; None when there is none.
        hint: what to do next; printed when the outcome is good.
        lines: the last lines of the log of what failed.
    """
    console.print(f"\n[bold]{outcome.title}[/]:", end=" ")
    console.print(outcome.sentence, markup=False, highlight=False)
    for line in lines:
        console.print(f"    {line}", markup=False, highlight=False)
    if hint and outcome.exit_code == 0:
        console.print(hint, highlight=False)
    if report:
        console.print(f"report: {report}", markup=False, highlight=False)
    raise typer.Exit(outcome.exit_code)


@command(app)
def submit(
    endpoint: Annotated[
        str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of Kubeflow Pipelines, http://… or https://…")
    ],
    experiment: Annotated[str, typer.Option(help="Name of the experiment there.")] = "slipway",
    namespace: Annotated[str, typer.Option(help="Your profile's namespace, where several users share it.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay until the run ended; exit codes as for `run`.")
    ] = False,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Run the whole pipeline on Kubeflow Pipelines, where each step is a pod.

    Data and encoders of this machine are uploaded to the store first. An endpoint that asks for a token gets the one
    in the environment variable SLIPWAY_KFP_TOKEN. With --follow the exit codes are those of `run`, and 6 is cancelled.
    """
    from slipway.pipelines import submit as submission

    settings = unresolved_settings(config, overrides, None)
    api, run = submission.submit(settings, endpoint, experiment, namespace, console)
    if not follow:
        return
    try:
        report = Places.here().runs / run.run_id / "report.html"
        ending = submission.follow_to_end(api, run, settings, console, report)
    except KeyboardInterrupt:
        errors.print(f"no longer followed; the run goes on: {run.url}", highlight=False)
        raise typer.Exit(130) from None
    print_outcome_and_exit(ending.outcome, ending.report, lines=ending.lines)


@command(app)
def compile(
    output: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("slipway-pipeline.yaml"),
) -> None:
    """Write the pipeline as YAML, for the Kubeflow Pipelines UI."""
    from slipway.pipelines import python_api

    console.print(f"wrote {python_api.compile(output)}", markup=False, highlight=False)
