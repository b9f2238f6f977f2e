"""The command's own options, and what is told before anything is started."""

import socket
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from slipway.pipelines.cli.main import app
from tests.pipelines.command import slipway

WITHOUT_SETTINGS = {"init", "settings", "compile", "runs", "logs", "report", "audit", "keys"}
ON_KUBEFLOW = {"submit"}


pytestmark = pytest.mark.usefixtures("here")


def test_the_version_is_that_of_the_package() -> None:
    assert slipway("--version").stdout.strip() == f"slipway {metadata.version('slipway')}"


def test_every_command_that_reads_settings_takes_them_in_the_same_way() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        if name not in WITHOUT_SETTINGS:
            assert {"--config", "--set"} <= options, name
            assert ("--target" in options) is (name not in ON_KUBEFLOW), name


def test_the_shell_can_complete_the_command() -> None:
    done = CliRunner().invoke(app, [], prog_name="slipway", env={"_SLIPWAY_COMPLETE": "source_bash"})
    assert "complete" in done.stdout


def test_a_section_of_settings_is_readable() -> None:
    shown = slipway("settings", "rollout").stdout
    assert "rollout.http_port = 8080\n    the public endpoint's HTTP port" in shown
    assert "train." not in shown
    assert "did you mean train?" in slipway("settings", "trian").output
    assert "known sections: model_name, target, tracking_uri, data" in slipway("settings", "§").output
    assert slipway("settings", "--markdown").stdout.startswith("| setting | default |")


@pytest.mark.parametrize("command", ["run", "check"])
def test_data_that_are_not_there_are_told_before_a_run_begins(here: Path, command: str) -> None:
    done = slipway(command, "--set", "data.source=./nowhere.csv")
    assert (done.exit_code, "'./nowhere.csv' does not exist" in done.output) == (2, True), done.output
    assert not (here / "home" / "runs").exists()


def test_a_check_reads_the_data_as_the_run_will(here: Path) -> None:
    (here / "mails.csv").write_text("text,topic\nhello,x\n")
    done = slipway("check", "--set", "data.source=mails.csv")
    assert (done.exit_code, "data.label_column" in done.output) == (2, True), done.output


def test_a_check_says_that_a_run_can_begin() -> None:
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in (one, other)]
    done = slipway("check", "--set", f"rollout.http_port={ports[0]}", "--set", f"rollout.grpc_port={ports[1]}")
    assert (done.exit_code, "`slipway run` can begin" in done.output) == (0, True), done.output


def test_a_port_that_is_taken_is_told_with_who_has_it_and_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = slipway("check", "--set", f"rollout.http_port={port}")
    said = " ".join(done.output.split())
    assert done.exit_code == 2
    assert f"port {port} cannot be used (held by process {psutil.Process().pid}" in said
    assert "set rollout.http_port to a free port, such as " in said


@pytest.mark.parametrize("command", ["start", "stop"])
def test_a_service_of_a_cluster_is_not_started_or_stopped_from_here(command: str) -> None:
    done = slipway(command, "--target", "kubernetes")
    assert (done.exit_code, "cluster.min_replicas" in done.output) == (2, True), done.output
