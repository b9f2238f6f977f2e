"""What the commands share: their options, the settings that they give, where they print, and how they end."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from slipway.components.errors import SlipwayError
from slipway.pipelines.home import Places, resolved_here
from slipway.pipelines.settings import DEFAULT_FILE, SlipwaySettings, load_settings

P = ParamSpec("P")
R = TypeVar("R")

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


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as a subcommand of `app`. A Slipway error becomes one message and an exit code."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except SlipwayError as error:
                fail(error)

        app.command(name)(guarded)
        return guarded

    return register


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
