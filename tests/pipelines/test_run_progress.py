"""A run on Kubeflow Pipelines is followed by what its API and its record tell, and its outcome is what its steps left.

The answers have the shape of the backend's; see `tests.pipelines.kubeflow`.
"""

import io
import itertools

import pytest
from rich.console import Console

from slipway.components.kubeflow.pod_diagnosis import Diagnosis
from slipway.components.step_runtime import run_record
from slipway.pipelines import kubeflow_api, run_progress, submit
from slipway.pipelines.kubeflow_api import Endpoint, EndpointAway, Submitted, look_of
from slipway.pipelines.settings import SlipwaySettings
from tests.components.step_results import check
from tests.pipelines.conftest import User
from tests.pipelines.fake_backend import Kubeflow, entry, run, task

REFUSED = {"gate": {"passed": False, "checks": [check("macro-F1 0.41 is below 0.60", passed=False)]}}
DELIVERED = {"rollout": {"outcome": "promoted", "reason": "no harm was seen"}}


class Followed:
    """Somebody follows the run `run-1` to its end."""

    def __init__(self, kubeflow: Kubeflow, user: User) -> None:
        self.kubeflow, self.user = kubeflow, user
        self.lines: list[str] = []

    def __call__(self) -> submit.Ended:
        output = io.StringIO()
        there = Endpoint(self.kubeflow.address)
        begun = Submitted("run-1", f"{self.kubeflow.address}/#/runs/details/run-1", self.user.place)
        console = Console(file=output, width=200, soft_wrap=True)
        try:
            report = self.user.folder / "report.html"
            return submit.follow_to_end(there, begun, SlipwaySettings(), console, report)
        finally:
            self.lines = [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.fixture
def followed(kubeflow: Kubeflow, user: User, monkeypatch: pytest.MonkeyPatch) -> Followed:
    monkeypatch.setattr(run_progress, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(run_progress, "RECORD_SECONDS", 0.0)
    monkeypatch.setattr(submit, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr("slipway.pipelines.progress_view.POLL_SECONDS", 0.01)
    monkeypatch.setattr("slipway.pipelines.progress_view.LINE_SECONDS", 600.0)  # however busy the machine is
    return Followed(kubeflow, user)


def test_each_step_is_shown_once_with_its_time_and_trainings_are_counted(followed: Followed) -> None:
    folds = [task("cross-validate", "SUCCEEDED", 90, 120) for _ in range(4)]
    before = [task("preflight", "SUCCEEDED", 10, 40), task("prepare-data", "SUCCEEDED", 50, 70)]
    more = [task("cross-validate", "RUNNING", 90)]
    followed.kubeflow.looks = [
        run(None),
        run("RUNNING", before[0]),
        run("RUNNING", *before, task("select-model", "RUNNING", 80), *folds[1:], *more),
        run("SUCCEEDED", *before, task("select-model", "SUCCEEDED", 80, 200), *folds, task("train", None, 200, 200)),
    ]
    followed.user.recorded("rollout", DELIVERED, "started", "finished")

    ended = followed()

    assert ended.outcome.exit_code == 0
    assert [line for line in followed.lines if not line.startswith("rollout")] == [
        "preflight     started",
        "preflight     done in 30 s",
        "prepare data  started",
        "prepare data  done in 20 s",
        "select model  started",
        "select model   75 % 3 of 4 trainings",
        "select model  done in 120 s",
    ]


def test_the_record_goes_on_where_the_details_have_frozen(followed: Followed) -> None:
    frozen = [task("preflight", "SUCCEEDED", 10, 40), [entry("train-driver", "RUNNING", 60)]]
    looks = [run("RUNNING", *frozen)] * 3
    followed.kubeflow.looks = [*looks, run("SUCCEEDED", *frozen)]
    train = {"kind": "progress", "message": "epoch 2 of 4, loss 0.412", "done": 2.0, "total": 4.0}
    followed.user.recorded("train", {}, "started", train, "finished")
    followed.user.recorded("evaluate", {"evaluate": {}}, "started", "finished")
    followed.user.recorded("rollout", DELIVERED, "started", "finished")

    ended = followed()

    assert ended.outcome.title == "delivered"
    assert ended.outcome.exit_code == 0
    assert "train          50 % epoch 2 of 4, loss 0.412" in followed.lines
    assert "train         done in 2 s" in followed.lines
    assert "rollout       done in 1 s" in followed.lines


def test_what_is_still_running_in_the_details_of_a_run_that_ended_is_not_called_running(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    followed.kubeflow.looks = [
        run("RUNNING", task("train", "RUNNING", 60)),
        run("SUCCEEDED", task("train", "RUNNING", 60)),
    ]

    ended = followed()

    assert followed.lines[-1] == "train         how it ended cannot be seen from here"
    assert [line for line in followed.lines if "cannot be read from here" in line] == [followed.lines[0]]
    assert ended.outcome.exit_code == 1  # an end that looks good may be a refusal
    assert (
        "Kubeflow Pipelines says SUCCEEDED, but not whether customer-messages was delivered" in ended.outcome.sentence
    )
    assert "/#/runs/details/run-1" in ended.outcome.sentence
    assert "hidden" not in ended.outcome.sentence + "".join(followed.lines)


def test_steps_from_the_cache_are_called_unchanged(followed: Followed) -> None:
    steps = [
        task("prepare-data", "SUCCEEDED", 50, 50),
        task("select-model", "SUCCEEDED", 60, 110),
        *(task("cross-validate", "SUCCEEDED", second, second) for second in (90, 91)),
        task("train", "SUCCEEDED", 120, 120),
        task("compress", "SUCCEEDED", 140, 207),
    ]
    followed.kubeflow.looks = [run("SUCCEEDED", *steps)]
    followed.user.recorded("rollout", {"prepare_data": {}, "select_model": {}, "train": {}} | DELIVERED, "started")

    followed()

    assert [line for line in followed.lines if "unchanged" in line] == [
        "prepare data  unchanged, not run again",
        "select model  unchanged, not run again",
        "train         unchanged, not run again",
    ]
    assert "compress      done in 67 s" in followed.lines


def test_a_failed_driver_fails_its_step_and_is_named(followed: Followed) -> None:
    driver = [entry("train-driver", "FAILED", 80, 90), entry("train-driver(0)", "FAILED", 80, 84)]
    nothing = [task(name, None, 90, 90) for name in ("train", "compress", "evaluate")]
    followed.kubeflow.looks = [run("FAILED", task("preflight", "SUCCEEDED", 10, 40), driver, *nothing)]
    followed.user.recorded("preflight", {"preflight": {}}, "started", "finished")

    ended = followed()

    assert "train         failed after 10 s" in followed.lines
    assert not any("compress" in line for line in followed.lines)
    assert ended.outcome.sentence.startswith("train: it failed before it could leave a word")
    assert ended.outcome.exit_code == 1


def test_a_driver_that_failed_is_explained_by_its_pod(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["F1126 main.go:77] driver failed", "processing OneOf: no successful task found"]
    found = Diagnosis("select_model", "its driver refused it", lines, "slipway-c584m-1902367918")
    monkeypatch.setattr("slipway.components.kubeflow.pod_diagnosis.diagnose", lambda *_: found)
    followed.kubeflow.looks = [run("FAILED", task("select-model", "FAILED", 80, 200))]

    ended = followed()

    assert ended.outcome.sentence == "select_model: its driver refused it (pod slipway-c584m-1902367918)"
    assert ended.lines == lines


def test_an_import_error_in_preflight_leaves_no_record_and_blames_preflight(followed: Followed) -> None:
    failed = [task("preflight", "FAILED", 20, 30), *(task(name, None, 30, 30) for name in ("prepare-data", "train"))]
    followed.kubeflow.looks = [run("FAILED", *failed, task("report", "FAILED", 50, 60))]

    ended = followed()

    assert followed.lines[0:2] == ["preflight     started", "preflight     failed after 10 s"]
    assert ended.outcome.sentence.startswith("preflight: it failed before it could leave a word")
    assert "/#/runs/details/run-1" in ended.outcome.sentence


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE"])
def test_a_gate_that_refused_is_told_though_the_run_succeeded(followed: Followed, state: str) -> None:
    followed.kubeflow.looks = [run(state, task("evaluate", state, 20, 57))]
    followed.user.recorded("evaluate", {"evaluate": REFUSED}, "started", "finished")
    run_record.put_report(followed.user.place, "<h1>the page</h1>")

    ended = followed()

    assert "evaluate      done in 1 s" in followed.lines  # as its own record says
    assert ended.outcome.exit_code == 3
    assert "macro-F1 0.41 is below 0.60" in ended.outcome.sentence
    assert ended.report
    assert ended.report.read_text() == "<h1>the page</h1>"


@pytest.mark.parametrize("state", ["CANCELED", "FAILED"])
def test_a_cancelled_run_is_called_so_whatever_the_engine_says(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr("slipway.components.kubeflow.pod_diagnosis.cancelled", lambda *_: state == "FAILED")
    followed.kubeflow.looks = [run(state, task("select-model", state, 60, 80))]
    followed.user.recorded("select_model", {}, "started", "part")

    ended = followed()

    assert ended.outcome.title == "cancelled"
    assert ended.outcome.exit_code == 6
    assert "while select_model was at work" in ended.outcome.sentence


def test_a_run_that_was_cancelled_before_the_store_can_be_read_is_cancelled_too(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    followed.kubeflow.looks = [run("CANCELED")]
    assert followed().outcome.exit_code == 6


@pytest.mark.parametrize(("outcome", "code"), [("promoted", 0), ("rolled_back", 4), ("held", 5)])
def test_what_the_rollout_left_counts_for_more_than_the_state(followed: Followed, outcome: str, code: int) -> None:
    followed.kubeflow.looks = [run("FAILED", task("report", "FAILED", 300, 310))]
    followed.user.recorded(
        "rollout", {"rollout": {"outcome": outcome, "reason": "slow answers"}}, "started", "finished"
    )
    ended = followed()
    assert ended.outcome.exit_code == code
    assert ended.outcome.sentence == "slow answers"


def test_a_run_that_failed_without_a_word_names_the_step(followed: Followed) -> None:
    followed.user.recorded("prepare_data", {"prepare_data": {}}, "started", "finished")
    followed.user.recorded("train", {"prepare_data": {}}, "started", {"kind": "progress", "message": "epoch 1"})
    followed.kubeflow.looks = [{"state": "FAILED", "run_details": None}]

    ended = followed()

    assert ended.outcome.exit_code == 1
    assert ended.outcome.sentence.startswith("train: the step ended without a word")


def test_an_endpoint_that_is_away_for_a_while_ends_nothing(followed: Followed) -> None:
    followed.kubeflow.looks = [run("RUNNING"), 503, 502, 429, run("SUCCEEDED", task("rollout", "SUCCEEDED", 60, 80))]
    followed.user.recorded("rollout", DELIVERED, "started", "finished")
    assert followed().outcome.exit_code == 0


def test_an_endpoint_that_stays_away_ends_with_where_the_run_is(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_progress, "OUTAGE_SECONDS", 0.1)
    followed.kubeflow.looks = [run("RUNNING"), 503]
    with pytest.raises(EndpointAway, match=r"answers 503 no healthy upstream; the run goes on, see http"):
        followed()


def test_the_report_may_arrive_a_little_later(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "REPORT_SECONDS", 10.0)
    put = iter([False, False])

    def sleep(_: float) -> None:
        if next(put, True):
            run_record.put_report(followed.user.place, "<h1>late</h1>")

    monkeypatch.setattr(submit, "LOOK_SECONDS", 0.0)
    followed.kubeflow.looks = [run("SUCCEEDED", task("report", "SUCCEEDED", 60, 80))]
    followed.user.recorded("rollout", DELIVERED, "started", "finished")
    monkeypatch.setattr("slipway.pipelines.submit.time.sleep", sleep)
    assert followed().report


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"state": None, "run_details": None},
        {"state": "RUNNING", "run_details": {"task_details": None}},
        {"run_details": {"task_details": [None, {}, {"display_name": None, "state": None}]}},
    ],
)
def test_an_answer_may_lack_anything(body: object) -> None:
    look = look_of(body)
    assert look.state in ("PENDING", "RUNNING")
    assert look.tasks == []


def test_both_words_for_a_state_are_known() -> None:
    words = [*itertools.product(["SUCCEEDED", "COMPLETE"], ["done"]), ("CACHED", "unchanged"), ("RUNNING", "running")]
    words += [("ERROR", "failed"), ("NEW_WORD", "waiting")]
    for state, meant in words:
        (found,) = look_of({"run_details": {"task_details": [entry("train", state, 10, 20)]}}).tasks
        assert found.state == meant, state
    assert look_of({"run_details": {"task_details": [entry("train", "RUNNING", 10)]}}).tasks[0].ended is None


def test_an_endpoint_that_turns_into_a_login_page_asks_for_a_token(followed: Followed) -> None:
    followed.kubeflow.looks = [run("RUNNING"), 302]
    with pytest.raises(Exception, match=r"refuses us \(302.*" + kubeflow_api.TOKEN):
        followed()
