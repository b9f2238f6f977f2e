"""`slipway submit` against a small server that knows the few requests of Kubeflow Pipelines' v2beta1 API that it makes.

No Kubeflow Pipelines is here, so this server is the boundary: what it gets is what the real one would.
"""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from typer.testing import CliRunner

from components import run_record
from pipelines.cli import app
from tests.conftest import free_port

TOKEN = "a-token-that-nobody-may-see"
SLIPWAY = Path(sys.executable).parent / "slipway"


class Kubeflow(ThreadingHTTPServer):
    """Runs, each with the states that it goes through; an optional token; everything that was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.daemon_threads = True
        self.token, self.healthz = "", (200, {"multi_user": False})
        self.looks: list[dict[str, Any]] = [{"state": "SUCCEEDED"}]
        self.runs: list[dict[str, Any]] = []
        self.experiments: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Requests(BaseHTTPRequestHandler):
    server: Kubeflow

    def answer(self, code: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refused(self) -> bool:
        if not self.server.token or self.headers.get("Authorization") == f"Bearer {self.server.token}":
            return False
        self.answer(401, {"error_message": "Unauthorized"})
        return True

    def do_GET(self) -> None:  # noqa: N802  # the base class names it
        path, _, query = self.path.partition("?")
        if self.refused():
            return
        if path == "/apis/v2beta1/healthz":
            self.answer(*self.server.healthz)
        elif path == "/apis/v2beta1/experiments":
            found = [
                {"experiment_id": number, "display_name": name}
                for name, number in self.server.experiments.items()
                if name in query
            ]
            self.answer(200, {"experiments": found} if found else {})
        elif path == "/apis/v2beta1/runs/run-1":
            looks = self.server.looks
            self.answer(200, {"run_id": "run-1"} | (looks.pop(0) if len(looks) > 1 else looks[0]))
        else:
            self.answer(404, {"error_message": f"no {path}"})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        if self.path == "/apis/v2beta1/experiments":
            self.server.experiments[body["display_name"]] = "experiment-1"
            self.answer(200, {"experiment_id": "experiment-1"} | body)
        else:
            self.server.runs.append(body)
            self.answer(200, {"run_id": "run-1"})

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    server = Kubeflow()
    yield server
    server.shutdown()
    server.server_close()


class User:
    """Somebody who submits from a folder of their own, with a bucket of their own."""

    def __init__(self, folder: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store = folder, f"s3://{uuid.uuid4().hex}"
        self.place = f"{self.store}/runs/run-1"
        login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in (login | {"AWS_ENDPOINT_URL": s3, "SLIPWAY_HOME": str(folder / "home")}).items():
            monkeypatch.setenv(name, value)
        for name in ("SLIPWAY_RUN", "SLIPWAY_KFP_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)
        boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=self.store.removeprefix("s3://"))

    def arguments(self, endpoint: str, *more: str) -> list[str]:
        return ["submit", "--endpoint", endpoint, "--set", f"cluster.store={self.store}", *more]

    def submit(self, endpoint: str, *more: str) -> Result:
        return CliRunner().invoke(app, self.arguments(endpoint, *more))

    def recorded(self, step: str, results: dict[str, Any], *kinds: str) -> None:
        """What the pod of a step would have left in the store."""
        mirror = run_record.Mirror(self.place, step)
        mirror.update(results)
        for number, kind in enumerate(kinds):
            mirror.event({"time": float(number), "step": step, "kind": kind})


@pytest.fixture
def user(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> User:
    return User(tmp_path, s3, monkeypatch)


def test_the_compiled_pipeline_is_sent_with_the_settings_and_nothing_of_this_machine(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.token = TOKEN
    monkeypatch.setenv("SLIPWAY_KFP_TOKEN", TOKEN)
    more = ("--set", "train.epochs=2", "--experiment", "messages")
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
    assert parameters["train"]["epochs"] == 2
    assert parameters["target"] == "kubernetes"
    assert parameters["registry"]["store"] == f"{user.store}/bundles"
    assert parameters["record"] == f"{user.store}/runs"
    assert str(user.folder) not in json.dumps(run)
    assert str(Path.home()) + "/" not in json.dumps(run)
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-register"]["secretAsVolume"][0]["secretName"] == "slipway-signing"
    assert run["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"].keys() >= parameters.keys()


@pytest.mark.parametrize(("outcome", "code"), [("promoted", 0), ("rolled_back", 4), ("held", 5)])
def test_a_followed_run_shows_its_steps_and_ends_with_its_outcome(
    kubeflow: Kubeflow, user: User, outcome: str, code: int
) -> None:
    user.recorded("rollout", {"rollout": {"outcome": outcome, "reason": "slow answers"}}, "finished")
    run_record.put_report(user.place, "<h1>the page</h1>")
    tasks = [{"display_name": "prepare-data", "state": "SUCCEEDED"}, {"display_name": "for-loop-1", "state": "RUNNING"}]
    kubeflow.looks = [{"state": "SUCCEEDED", "run_details": {"task_details": tasks}}]

    ended = user.submit(kubeflow.address, "--follow")

    assert ended.exit_code == code, ended.stdout + ended.stderr
    assert "prepare data  succeeded" in ended.stdout
    assert "for-loop" not in ended.stdout
    assert "slow answers" in ended.stdout
    report = user.folder / "home" / "runs" / "run-1" / "report.html"
    assert report.read_text() == "<h1>the page</h1>"


def test_a_run_that_failed_without_a_word_names_the_step(kubeflow: Kubeflow, user: User) -> None:
    user.recorded("prepare_data", {"prepare_data": {}}, "started", "finished")
    user.recorded("train", {"prepare_data": {}}, "started", "progress")
    kubeflow.looks = [{"state": "FAILED"}]

    ended = user.submit(kubeflow.address, "--follow")

    assert ended.exit_code == 1
    assert "failed: train: the step ended without a word" in ended.stdout


def test_without_access_to_the_store_the_outcome_is_the_state(
    kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    kubeflow.looks = [{"state": "FAILED"}]
    ended = user.submit(kubeflow.address, "--follow")
    assert ended.exit_code == 1
    assert "its record cannot be read from here" in ended.stdout
    assert "hidden" not in ended.stdout + ended.stderr


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
        ("data.source=messages.csv", "data.source is messages.csv: steps in pods cannot read it"),
        ("train.encoder=encoder", "cannot read folders of this machine"),
        ("target=local", "target is local"),
        ("cluster.store=bundles", "cluster.store is bundles: pods reach it only as s3://"),
        ("train.epochs=0", "train.epochs = 0"),
    ],
)
def test_settings_that_pods_cannot_use_are_told_before_anything_is_sent(
    kubeflow: Kubeflow, user: User, setting: str, words: str
) -> None:
    (user.folder / "messages.csv").write_text("text,label\n")
    (user.folder / "encoder").mkdir()
    ended = user.submit(kubeflow.address, "--set", setting)
    assert ended.exit_code == 2
    assert words in ended.stderr
    assert kubeflow.runs == []
