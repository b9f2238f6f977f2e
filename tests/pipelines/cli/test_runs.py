"""What earlier runs left is found again: `slipway runs`, `logs`, `report`."""

import json
from pathlib import Path

import pytest

from slipway.components.step_runtime import step_context
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import exclusive
from tests.pipelines.command import slipway

OLD, NEW = "20260101-100000-aaaa", "20260102-100000-bbbb"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A home with an older run that delivered, and a newer one that failed."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    places = Places(tmp_path)
    delivered = {"rollout": {"outcome": "promoted", "version": "1", "reason": "version 1 serves"}}
    failure = {"step": "train", "kind": "BadInput", "message": "too few texts", "exit_code": 2}
    for name, left in ((OLD, {step_context.RESULTS: delivered}), (NEW, {step_context.FAILURE: failure})):
        folder = places.runs / name
        (folder / step_context.LOGS).mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps({"model_name": "reviews"}))
        for file, content in left.items():
            (folder / file).write_text(json.dumps(content))
        events = [
            {"step": "train", "kind": kind, "time": time} for kind, time in (("started", 100.0), ("failed", 107.0))
        ]
        (folder / step_context.PROGRESS).write_text("".join(json.dumps(event) + "\n" for event in events))
        for step in ("prepare_data", "train", "report"):
            (folder / step_context.LOGS / f"{step}.log").write_text(f"{step} of {name}\n")
    return places


@pytest.mark.usefixtures("places")
def test_runs_are_listed_with_their_end_the_newest_first() -> None:
    rows = json.loads(slipway("runs", "--json").stdout)
    assert [(row["run"], row["outcome"], row["seconds"]) for row in rows] == [
        (NEW, "bad input", 7),
        (OLD, "delivered", 7),
    ]
    assert slipway("runs").stdout.index(NEW) < slipway("runs").stdout.index(OLD)


def test_a_run_at_work_is_shown_as_such_and_has_no_report_yet(places: Places) -> None:
    with exclusive(places, NEW):
        assert json.loads(slipway("runs", "--json").stdout)[0]["outcome"] == "at work"
        assert "comes at its end" in slipway("report").output
    assert json.loads(slipway("runs", "--json").stdout)[0]["outcome"] == "bad input"


def test_a_report_of_a_run_that_was_submitted_counts_as_one(places: Places) -> None:
    folder = places.runs / "20260103-100000-cccc"
    folder.mkdir()
    (folder / "report.html").write_text("<html>")
    assert json.loads(slipway("runs", "--json").stdout)[0]["outcome"] == "see its report"
    assert slipway("report").stdout.strip() == str(folder / "report.html")


@pytest.mark.usefixtures("places")
def test_the_log_is_that_of_the_step_that_failed_or_that_was_named() -> None:
    assert slipway("logs").stdout == f"train of {NEW}\n"
    assert slipway("logs", "20260101", "--step", "prepare-data").stdout == f"prepare_data of {OLD}\n"
    nothing = slipway("logs", "--step", "compress")
    assert (nothing.exit_code, "prepare_data" in nothing.output) == (2, True)


@pytest.mark.usefixtures("places")
def test_a_report_that_a_killed_run_did_not_write_is_written_now() -> None:
    path = Path(slipway("report", OLD).stdout.strip())
    assert "version 1 serves" in path.read_text("utf-8")


@pytest.mark.usefixtures("places")
def test_a_name_that_fits_no_run_or_several_is_told() -> None:
    assert "no run begins with 'x'" in slipway("report", "x").output
    assert "several runs begin with '2026'" in slipway("report", "2026").output


def test_without_runs_it_is_said_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "none"))
    assert "`slipway run` makes one" in slipway("runs").output
    assert "`slipway run` makes one" in slipway("logs").output
