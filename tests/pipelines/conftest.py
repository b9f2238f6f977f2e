"""A Kubeflow Pipelines endpoint, and somebody who submits runs to it from a folder and with a bucket of their own."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.progress import Event
from slipway.pipelines.cli.main import app
from tests.pipelines.fake_backend import Kubeflow


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    server = Kubeflow()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings, with a home and keys of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_KEYS", str(tmp_path / "keys"))
    return tmp_path


class User:
    """Somebody who submits from a folder of their own, with a bucket of their own."""

    def __init__(self, folder: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store = folder, f"s3://{uuid.uuid4().hex}"
        self.place = f"{self.store}/runs/run-1"
        login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in (login | {"AWS_ENDPOINT_URL": s3, "SLIPWAY_HOME": str(folder / "home")}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("KUBECONFIG", str(folder / "no-kubeconfig"))
        for name in ("SLIPWAY_RUN", "SLIPWAY_KFP_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)
        boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=self.store.removeprefix("s3://"))

    def arguments(self, endpoint: str, *more: str) -> list[str]:
        return ["submit", "--endpoint", endpoint, "--set", f"cluster.store={self.store}", *more]

    def submit(self, endpoint: str, *more: str) -> Result:
        return CliRunner().invoke(app, self.arguments(endpoint, *more))

    def recorded(self, step: str, results: dict[str, Any], *events: str | dict[str, Any]) -> run_record.Mirror:
        """What the pod of a step would have left in the store; events are kinds, or have more than one."""
        mirror = run_record.Mirror(self.place, step)
        mirror.update(results)
        for number, event in enumerate(events):
            own = {"kind": event} if isinstance(event, str) else event
            mirror.event(Event.model_validate({"time": float(number), "step": step} | own))
        return mirror


@pytest.fixture
def user(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> User:
    return User(tmp_path, s3, monkeypatch)
