"""The `slipway` command as a person gives it, in this process."""

from typer.testing import CliRunner, Result

from slipway.pipelines.cli.main import app


def slipway(*arguments: str) -> Result:
    """What the command says and exits with."""
    return CliRunner().invoke(app, list(arguments))
