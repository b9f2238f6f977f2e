"""The record of a run whose steps are pods: what each left in the store is one whole, whatever became of them."""

import uuid
from pathlib import Path

import boto3
import pytest

from slipway.components.errors import BadInput
from slipway.components.report import step as report
from slipway.components.step_runtime import progress, run_record, step_context
from slipway.components.step_runtime.step_result import Results
from tests.components.step_results import AnyResult


class Pods:
    """Runs steps as pods of one run would: without a folder, each under a name of its own."""

    def __init__(self, store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.folder, self.monkeypatch = store, folder, monkeypatch
        self.results: Results = {}

    def __call__(self, step: str, result: dict[str, object] | None, error: Exception | None = None) -> None:
        self.monkeypatch.setenv("KFP_POD_NAME", f"run-{uuid.uuid4().hex[:5]}")
        with step_context.running(step, self.results, str(self.folder / f"{step}.html"), record=self.store) as current:
            progress.report(step, "half way", 1, 2)
            if error:
                raise error
            current.finish(AnyResult(**(result or {})), "<p>section</p>")

    @property
    def record(self) -> run_record.Record:
        return step_context.record(store=self.store)


@pytest.fixture
def pods(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pods:
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (login | {"AWS_ENDPOINT_URL": s3, "SLIPWAY_RUN_ID": "run-7"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    bucket = uuid.uuid4().hex
    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket=bucket)
    return Pods(f"s3://{bucket}/runs", tmp_path, monkeypatch)


def test_results_and_events_of_all_pods_are_one_record(pods: Pods) -> None:
    pods("prepare_data", {"rows": 3})
    pods("train", {"epochs": 2})
    found = pods.record
    assert found.results == {"prepare_data": {"rows": 3}, "train": {"epochs": 2}}
    assert found.failure is None
    kinds = [(event.step, event.kind) for event in found.events]
    assert kinds == [(step, kind) for step in ("prepare_data", "train") for kind in ("started", "progress", "finished")]


def test_parallel_parts_of_a_step_do_not_overwrite_each_other(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        monkeypatch.setenv("KFP_POD_NAME", f"fold-{number}")
        with step_context.part("select_model", {"prepare_data": {"rows": 3}}, pods.store):
            pass
    assert [event.kind for event in pods.record.events] == ["started"] * 3
    assert pods.record.results == {"prepare_data": {"rows": 3}}, "those of the cached step before"


def test_a_failure_is_kept_with_what_was_known_before(pods: Pods) -> None:
    pods("prepare_data", {"rows": 3})
    with pytest.raises(SystemExit) as left:
        pods("train", None, BadInput("the encoder is missing"))
    assert left.value.code == 2
    found = pods.record
    assert found.results == {"prepare_data": {"rows": 3}}
    assert found.failure == run_record.Failure(
        step="train", kind="BadInput", message="the encoder is missing", exit_code=2
    )
    assert found.events[-1].kind == "failed"


def test_a_later_attempt_that_ends_well_outweighs_the_failure(pods: Pods) -> None:
    with pytest.raises(SystemExit):
        pods("train", None, BadInput("the store was away"))
    pods("train", {"epochs": 2})
    assert pods.record.failure is None


def test_of_several_failed_attempts_the_last_one_counts(pods: Pods) -> None:
    for words in ("the store was away", "the encoder is missing"):
        with pytest.raises(SystemExit):
            pods("train", None, BadInput(words))
    failure = pods.record.failure
    assert failure
    assert failure.message == "the encoder is missing"


@pytest.mark.parametrize(
    ("settings", "uri"),
    [
        ({}, "s3://slipway/runs"),
        ({"cluster": {"store": "s3://mine/x/"}}, "s3://mine/x/runs"),
        ({"cluster.store": "s3://mine"}, "s3://mine/runs"),
        ({"registry": {"store": "s3://models"}}, "s3://models/runs"),
        ({"cluster": "nonsense", "registry.store": None}, "s3://slipway/runs"),
    ],
)
def test_the_record_s_place_is_known_whatever_is_wrong_with_the_settings(settings: dict[str, object], uri: str) -> None:
    assert run_record.uri_of(settings) == uri


def test_runs_do_not_see_each_other(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    pods("prepare_data", {"rows": 3})
    monkeypatch.setenv("SLIPWAY_RUN_ID", "run-8")
    assert pods.record.results == {}


def test_the_report_of_a_failed_run_says_which_step_and_why_and_shows_earlier_results(
    pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods("prepare_data", {"rows": 3})
    with pytest.raises(SystemExit):
        pods("train", None, BadInput("the encoder is missing"))
    monkeypatch.setattr(report, "SECTIONS", {"prepare_data": lambda result: f"<p>{result['rows']} rows</p>"})

    report.run(pods.record, "messages", "run-7", tmp_path / "report.html")

    html = (tmp_path / "report.html").read_text()
    assert "train: the encoder is missing" in html
    assert "<p>3 rows</p>" in html
    run_record.get_report(f"{pods.store}/run-7", tmp_path / "copy.html")
    assert (tmp_path / "copy.html").read_text() == html


def test_a_store_that_is_away_costs_the_record_and_not_the_step(
    pods: Pods, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    pods("train", {"epochs": 2})
    assert (pods.folder / "train.html").exists()
    said = capfd.readouterr().err
    assert "the record of the run could not be written, the step goes on" in said
    assert "hidden" not in said
    found = pods.record
    assert found.failure
    assert "cannot be reached" in found.failure.message


def test_a_run_with_a_folder_leaves_nothing_in_the_store(
    pods: Pods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    pods("train", {"epochs": 2})
    monkeypatch.delenv("SLIPWAY_RUN")
    assert pods.record.events == []
