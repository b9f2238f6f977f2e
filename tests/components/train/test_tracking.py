"""The MLflow run of a training."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from slipway.components.errors import BadInput
from slipway.components.platforms.model_registry import Registry
from slipway.components.train.tracking import Tracker


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def test_a_killed_training_goes_on_in_its_run_without_repeating_values(uri: str, tmp_path: Path) -> None:
    first = Tracker(uri, "tests", "train", tmp_path, "digest")
    first.log_parameters({"epochs": 3})
    for update in (5, 10):
        first.log_metrics({"train_loss": 1.0 / update}, update)
    again = Tracker(uri, "tests", "train", tmp_path, "digest")
    again.log_parameters({"epochs": 3})
    for update in (10, 15):
        again.log_metrics({"train_loss": 1.0 / update}, update)
    again.finish("FINISHED")
    client = MlflowClient(uri)
    assert again.run_id == first.run_id
    assert [point.step for point in client.get_metric_history(first.run_id, "train_loss")] == [5, 10, 15]
    assert client.get_run(first.run_id).info.status == "FINISHED"
    assert Tracker(uri, "tests", "train", tmp_path, "digest").run_id != first.run_id, "a finished run is not continued"


def test_another_training_gets_a_run_of_its_own(uri: str, tmp_path: Path) -> None:
    runs = {Tracker(uri, "tests", "train", tmp_path, digest).run_id for digest in ("one", "two")}
    assert len(runs) == 2


def test_the_run_that_kubeflow_pipelines_made_for_the_step_is_the_parent_and_left_open(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(uri)
    step = client.create_run(client.create_experiment("of the platform"))
    monkeypatch.setenv("MLFLOW_RUN_ID", step.info.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = Tracker(uri, "tests", "train", tmp_path, "a step's digest")
    tracker.log_parameters({"epochs": 3})
    tracker.finish("FINISHED")
    made = client.get_run(tracker.run_id)
    assert made.data.tags["mlflow.parentRunId"] == step.info.run_id
    assert made.info.experiment_id == step.info.experiment_id, "MLflow shows a child below its parent only there"
    assert (made.info.status, client.get_run(step.info.run_id).info.status) == ("FINISHED", "RUNNING")
    assert client.get_run(step.info.run_id).data.params == {}


@pytest.mark.parametrize("given", ["deleted", "0" * 32, "no run's id; at all"])
def test_a_run_that_the_tracking_server_does_not_have_is_ignored_with_a_word(
    uri: str, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if given == "deleted":
        client = MlflowClient(uri)
        given = client.create_run("0").info.run_id
        client.delete_run(given)
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    tracker = Tracker(uri, "tests", "train", tmp_path, f"digest beside {given}")
    assert tracker.run_id != given
    assert "mlflow.parentRunId" not in MlflowClient(uri).get_run(tracker.run_id).data.tags
    assert f"MLFLOW_RUN_ID {given} is ignored" in capfd.readouterr().err


def test_a_password_in_the_address_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(BadInput, match="cannot be used") as told:
        Tracker("http://someone:pass-word@127.0.0.1:9", "e", "r", tmp_path, "sha256:1")
    assert "pass-word" not in str(told.value)


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/mlflow.db", "http://127.0.0.1:9", "gopher://mlflow"])
def test_a_tracking_server_that_cannot_be_used_is_named(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(BadInput, match=f"the MLflow tracking server {uri} cannot be used"):
        Tracker(uri, "tests", "train", tmp_path, "digest")


def test_a_deleted_experiment_is_told_with_what_restores_it(uri: str, tmp_path: Path) -> None:
    client = MlflowClient(uri)
    number = client.create_experiment("gone")
    registry = Registry(uri, "topics")
    registry.check_experiment("gone")
    registry.check_experiment("not there yet")
    client.delete_experiment(number)
    for look in (lambda: registry.check_experiment("gone"), lambda: Tracker(uri, "gone", "train", tmp_path, "digest")):
        with pytest.raises(BadInput, match=rf"was deleted; restore it with .*--experiment-id {number}"):
            look()
