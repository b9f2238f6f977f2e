"""The functions `slipway.run` and `slipway.compile`, which run and compile the pipeline from Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.report.outcome import Outcome
from slipway.components.step_runtime.step_context import LOGS
from slipway.pipelines.home import resolved_here
from slipway.pipelines.run_supervisor import run_here
from slipway.pipelines.settings import SlipwaySettings, checked, load_settings

VERDICTS = ("delivered", "gate refused", "rolled back", "held")


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run: str
    """Its name, as `slipway runs` lists it."""
    folder: Path
    """With its settings, logs, results and report."""
    outcome: str
    """`delivered`, `gate refused`, `rolled back` or `held`; in `RunFailed` `failed`, `bad input` or `cancelled`."""
    reason: str
    """A sentence."""
    report: Path
    """The page with all that was found."""

    @property
    def delivered(self) -> bool:
        """Whether the model of this run serves all traffic."""
        return self.outcome == "delivered"


class RunFailed(SlipwayError):
    """A run ended by an error, without a verdict about its model.

    Args:
        result: of the run.
    """

    def __init__(self, result: RunResult) -> None:
        super().__init__(f"{result.reason}; logs: {result.folder / LOGS}; report: {result.report}")
        self.result = result


def run(settings: Mapping[str, Any] | str | PathLike[str] | None = None, *, quiet: bool = False) -> RunResult:
    """Run the whole pipeline, as the command `slipway run` does, and return when it ended.

    The steps run in processes of their own. Where trainings compute and the model is served is the setting `target`.
    Everything is kept in `.slipway` in the current folder, or where the environment variable SLIPWAY_HOME says.

    Args:
        settings: by section, as in `{"data": {"source": "reviews.csv"}, "train": {"epochs": 2}}`; or the path of a
            settings file; or None for `slipway.yaml` in the current folder, or all defaults where there is none.
        quiet: print nothing.

    Raises:
        BadInput: the settings, or what they name, cannot be used.
        RunFailed: a step failed. A gate that refuses the model, or a rollout that ends without it, is a result.
    """
    return result_of(*run_here(*resolved_here(given(settings)), Console(quiet=quiet, soft_wrap=True)))


def given(settings: Mapping[str, Any] | str | PathLike[str] | None) -> SlipwaySettings:
    """Load settings from what the caller of `run` gave.

    Args:
        settings: see `run`.

    Raises:
        BadInput: they cannot be used.
    """
    if isinstance(settings, Mapping):
        return checked(dict(settings))
    return load_settings(None if settings is None else Path(settings))


def compile(path: str | PathLike[str] = "slipway-pipeline.yaml") -> Path:
    """Write the pipeline as YAML, for the Kubeflow Pipelines UI, as the command `slipway compile` does.

    Args:
        path: of the file to write.

    Returns:
        The path of the file.

    Raises:
        BadInput: the file cannot be written.
    """
    from kfp import compiler

    from slipway.pipelines.pipeline import pipeline

    output = Path(path)
    try:
        compiler.Compiler().compile(pipeline, str(output))
    except (OSError, ValueError) as error:
        raise BadInput(f"{output} cannot be written ({error}); give a .yaml file in a folder that is there") from error
    return output


def result_of(outcome: Outcome, report: Path) -> RunResult:
    """Turn the outcome of a run into what `run` returns or raises.

    Args:
        outcome: of the run.
        report: path of its report, which is in the folder of the run.

    Raises:
        BadInput, RunFailed: see `run`.
    """
    result = RunResult(report.parent.name, report.parent, outcome.title, outcome.sentence, report)
    if result.outcome in VERDICTS:
        return result
    failure = RunFailed(result)
    if outcome.exit_code == BadInput.exit_code:
        raise BadInput(str(failure)) from failure
    raise failure
