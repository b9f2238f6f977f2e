"""`slipway submit` sends a run with what the form asks for, and refuses what cannot go well before anything is sent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import Result

from slipway.components.kubeflow.pod_diagnosis import Diagnosis
from slipway.components.step_runtime import run_record
from slipway.pipelines import kubeflow_api, run_progress
from slipway.pipelines.pipeline_parameters import FIELDS
from tests.conftest import free_port
from tests.pipelines.conftest import User
from tests.pipelines.fake_backend import Kubeflow, run, task

TOKEN = "a-token-that-nobody-may-see"
SLIPWAY = Path(sys.executable).parent / "slipway"


def test_the_compiled_pipeline_is_sent_with_the_form_and_nothing_of_this_machine(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.token = TOKEN
    monkeypatch.setenv("SLIPWAY_KFP_TOKEN", TOKEN)
    more = ("--set", "train.epochs=2", "--set", "train.seed=7", "--experiment", "messages")
    command = [str(SLIPWAY), *user.arguments(kubeflow.address, *more)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert f"{kubeflow.address}/#/runs/details/run-1" in ended.stdout
    assert TOKEN not in ended.stdout + ended.stderr
    assert kubeflow.experiments == {"messages": "experiment-1"}
    (run,) = kubeflow.runs
    assert run["experiment_id"] == "experiment-1"
    parameters = run["runtime_config"]["parameters"]
    assert parameters.keys() == {*FIELDS, "settings"}
    assert parameters["epochs"] == 2
    assert parameters["settings"]["train"] == {"seed": 7}
    assert parameters["settings"]["cluster"] == {"store": user.store}
    assert str(user.folder) not in json.dumps(run)
    assert str(Path.home()) + "/" not in json.dumps(run)
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    mounted = [secret["secretName"] for secret in executors["exec-register"]["secretAsVolume"]]
    assert "slipway-s3" in mounted
    assert "slipway-signing" not in mounted
    assert run["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"].keys() == parameters.keys()


def test_a_followed_run_ends_with_the_command_and_the_words_of_what_failed(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def diagnose(run: str, namespace: str) -> Diagnosis:
        asked.append((run, namespace))
        return Diagnosis("preflight", "it cannot be imported", ["Traceback [red]", "ImportError: no x"], "pod-1")

    monkeypatch.setattr("slipway.components.kubeflow.pod_diagnosis.diagnose", diagnose)
    kubeflow.looks = [run("FAILED", task("preflight", "FAILED", 20, 30), task("train", None, 30))]

    ended = user.submit(kubeflow.address, "--follow", "--namespace", "team")

    assert ended.exit_code == 1, ended.stdout + ended.stderr
    assert asked == [("run-1", "team")]
    told = "failed: preflight: it cannot be imported (pod pod-1)\n    Traceback [red]\n    ImportError: no x\n"
    assert told in ended.stdout


def test_a_token_that_expires_while_a_run_is_followed_is_one_message(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_KFP_TOKEN", TOKEN)
    monkeypatch.setattr(run_progress, "POLL_SECONDS", 0.0)
    kubeflow.looks = [run("RUNNING"), 401]

    ended = user.submit(kubeflow.address, "--follow")

    refused(ended, "refuses us (401 no healthy upstream)", kubeflow_api.TOKEN, "the run goes on, see http")
    assert TOKEN not in ended.stdout + ended.stderr


def refused(ended: Result, *words: str) -> None:
    assert ended.exit_code == 2, ended.stdout + ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr


def test_a_dead_endpoint_is_one_message(user: User) -> None:
    refused(user.submit(f"http://127.0.0.1:{free_port()}"), "cannot be reached", "port-forward")


def test_a_refused_token_is_one_message_that_does_not_show_it(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.token = "another"
    monkeypatch.setenv("SLIPWAY_KFP_TOKEN", TOKEN)
    ended = user.submit(kubeflow.address)
    refused(ended, "refuses us (401)", "SLIPWAY_KFP_TOKEN")
    assert TOKEN not in ended.stderr


def test_a_server_that_is_something_else_is_told(kubeflow: Kubeflow, user: User) -> None:
    kubeflow.healthz = (404, b"<html>not here</html>")
    refused(user.submit(kubeflow.address), "is no Kubeflow Pipelines API (healthz answers 404)")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.source=messages.csv", "source 'messages.csv' does not exist"),
        ("train.encoder=./encoder", "train.encoder ./encoder is no folder"),
        ("target=local", "target is local"),
        ("cluster.store=bundles", "cluster.store is bundles: pods reach it only as s3://"),
        ("train.epochs=0", "train.epochs = 0"),
    ],
)
def test_settings_that_pods_cannot_use_are_told_before_anything_is_sent(
    kubeflow: Kubeflow, user: User, setting: str, words: str
) -> None:
    ended = user.submit(kubeflow.address, "--set", setting)
    assert ended.exit_code == 2
    assert words in ended.stderr
    assert kubeflow.runs == []
    assert run_record.read(user.place).events == []
