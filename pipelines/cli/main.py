"""The `slipway` command."""

import json
import time
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from slipway.components.clients.v2_client import Client
from slipway.components.errors import SlipwayError
from slipway.components.report.outcome import Outcome
from slipway.pipelines.cli import audit, keys
from slipway.pipelines.cli import explain as explain_cli
from slipway.pipelines.cli import status as status_cli
from slipway.pipelines.home import Places, resolved_here
from slipway.pipelines.settings import DEFAULT_FILE, SlipwaySettings, load_settings, readable_settings, settings_table

if TYPE_CHECKING:
    from slipway.components.rollout.served_model import ServedModel

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app, name="keys", no_args_is_help=True)
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

Config = Annotated[Path | None, typer.Option("--config", help=f"Settings file; {DEFAULT_FILE} is read when it exists.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Override one setting; may be repeated."),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="auto|local|kubernetes", help="Where trainings compute and the model is served; sets `target`."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
RunName = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Name of a run, or how it begins; by default the newest one.")
]


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


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Register a function as a subcommand. A Slipway error becomes one message and an exit code."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SlipwayError as error:
            fail(error)

    app.command()(guarded)
    return guarded


def fail(error: SlipwayError) -> NoReturn:
    """Print an error and exit with its code."""
    errors.print(f"[bold red]{type(error).__name__}[/]:", end=" ")
    errors.print(str(error), markup=False, highlight=False)
    raise typer.Exit(error.exit_code)


def settings_of(
    config: Path | None, overrides: list[str] | None, target: str | None = None
) -> tuple[SlipwaySettings, Places]:
    """Load and resolve the settings; returns them with the home folder."""
    return resolved_here(unresolved_settings(config, overrides, target))


def unresolved_settings(config: Path | None, overrides: list[str] | None, target: str | None) -> SlipwaySettings:
    """Load the settings as the user gave them, not resolved for this machine."""
    return load_settings(config, [*(overrides or []), *([f"target={target}"] if target else [])])


def served_model_of(config: Path | None, overrides: list[str] | None, target: str | None) -> "ServedModel":
    """The served model that the settings describe: on this machine or in a cluster."""
    from slipway.pipelines.served_model import served_model

    return served_model(*settings_of(config, overrides, target))


@command
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


@command
def check(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Look at everything that a run will need, without running it: data, encoder, store, keys, ports or cluster."""
    from slipway.pipelines import preflight

    settings, places = settings_of(config, overrides, target)
    preflight.check_data(settings.data)
    preflight.check(settings, places.service)
    console.print(f"{preflight.summary(settings)}; `slipway run` can begin", markup=False, highlight=False)


@command
def run(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Run the whole pipeline from here: from labelled text to a served model, and a report.

    Exit codes: 0 delivered, 1 failure, 2 bad input, 3 gate refused, 4 rolled back, 5 rollout held.
    """
    from slipway.pipelines.run_supervisor import run_here

    settings, places = settings_of(config, overrides, target)
    run_and_exit(lambda: run_here(settings, places, console))


@command
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


@command
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


@command
def compile(
    output: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("slipway-pipeline.yaml"),
) -> None:
    """Write the pipeline as YAML, for the Kubeflow Pipelines UI."""
    from slipway.pipelines import python_api

    console.print(f"wrote {python_api.compile(output)}", markup=False, highlight=False)


@command
def public_key(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Print the public key that servers verify bundles with: of the key pair that signs, or of the key in KMS."""
    from slipway.components.artifacts import signing

    registry = settings_of(config, overrides, target)[0].registry
    print(signing.key_pair(Path(registry.keys), registry.signing_key).public_key.read_text("utf-8"), end="")


@command
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


@command
def runs(as_json: AsJson = False) -> None:
    """List the runs of this home, the newest first, and how they ended."""
    from slipway.pipelines.cli import runs as runs_cli

    listed = list(runs_cli.all_runs(Places.here()))
    if as_json:
        print(json.dumps([run.row() for run in listed], ensure_ascii=False))
    else:
        runs_cli.show(listed, console)


@command
def logs(
    name: RunName = "",
    step: Annotated[str, typer.Option(help="Of which step; by default the one that failed, else the last.")] = "",
) -> None:
    """Print the log of a step of a run."""
    from slipway.pipelines.cli import runs as runs_cli

    print(runs_cli.log_of(runs_cli.find_run(Places.here(), name), step.replace("-", "_")), end="")


@command
def report(
    name: RunName = "",
    show: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Print the path of a run's report."""
    from slipway.pipelines.cli import runs as runs_cli

    path = runs_cli.report_of(runs_cli.find_run(Places.here(), name))
    console.print(str(path), markup=False, highlight=False)
    if show:
        runs_cli.open_page(path)


@command
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
    inputs = explain_cli.given_texts(texts)
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


@command
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
    inputs = explain_cli.given_texts(texts)
    if as_json:
        print(explain_cli.as_json(client, inputs, top))
        return
    explain_cli.explain(client, inputs, top, picture or Places.here().home / explain_cli.PICTURE, console)


@command
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
            status_cli.show(current, console)
        if not watch:
            break
        time.sleep(1)
        console.clear()
    raise typer.Exit(0 if current.healthy else 1)


@command
def start(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Serve the champion again after `slipway stop` or a restart of the machine."""
    from slipway.pipelines.served_model import on_this_machine

    model = on_this_machine(*settings_of(config, overrides, target), "started")
    model.start()
    status_cli.show(model.status(), console)


@command
def stop(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """End the served model's processes; `slipway start` brings them back."""
    from slipway.pipelines.served_model import on_this_machine

    model = on_this_machine(*settings_of(config, overrides, target), "stopped")
    console.print("stopped" if model.stop() else "nothing was running")


@command
def promote(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Give the challenger all traffic now, whatever the evidence says."""
    console.print(served_model_of(config, overrides, target).promote(), markup=False, highlight=False)


@command
def rollback(config: Config = None, overrides: Overrides = None, target: Target = None) -> None:
    """Take the challenger out of traffic; without one, serve the version before the champion again."""
    console.print(served_model_of(config, overrides, target).rollback(), markup=False, highlight=False)
