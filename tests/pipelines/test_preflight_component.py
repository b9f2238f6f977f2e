"""The pipeline's first step: what cannot go well is one message before any work, on Kubeflow Pipelines too."""

from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest

from slipway.components.rollout.local.processes import free_ports
from slipway.pipelines import pipeline_parameters
from slipway.pipelines.preflight_component import preflight
from slipway.pipelines.settings import SlipwaySettings
from slipway.pipelines.step_requests import Requests


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The form of a run on this machine that can go well."""
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    settings: dict[str, Any] = {
        "target": "local",
        "tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "registry": {"store": str(tmp_path / "store"), "keys": str(tmp_path / "keys")},
        "rollout": dict(zip(("http_port", "grpc_port"), free_ports(2), strict=True)),
    }
    return pipeline_parameters.filled(SlipwaySettings.model_validate(settings), SlipwaySettings())


def refused(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What the step prints when it ends as for bad input."""
    with pytest.raises(SystemExit) as ended:
        preflight.python_func(**arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_can_go_well_passes_and_each_step_is_asked_what_differs_from_the_defaults(given: dict[str, Any]) -> None:
    given["settings"]["train.seed"] = 7
    requests = preflight.python_func(**given)
    assert requests._fields == Requests._fields
    assert requests.train == {
        "settings": {"seed": 7},
        "target": "local",
        "tracking_uri": given["settings"]["tracking_uri"],
    }
    assert requests.compress == {"model_name": "customer-messages"}
    assert requests.rollout["settings"] == given["settings"]["rollout"], "and the form is as it was"
    assert [len(task["candidates"]) for task in requests.compare] == [1, 1]


def test_the_component_s_outputs_have_the_names_and_types_of_the_requests() -> None:
    declared = {name: output.type for name, output in preflight.component_spec.outputs.items()}
    kinds = {dict: "Dict", list: "List[Dict]", str: "String"}
    hints = get_type_hints(Requests)
    assert declared == {name: kinds[get_origin(hint) or hint] for name, hint in hints.items()}


def test_a_setting_of_a_late_step_is_looked_at(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given["settings"]["rollout.max_eror_rise"] = 0.1
    assert "rollout.max_eror_rise is unknown; did you mean rollout.max_error_rise" in refused(given, capsys)


def test_settings_of_two_steps_must_fit_together(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given["settings"] |= {"train": {"privacy_epsilon": 3.0}, "select": {"candidates": []}}
    assert "set compress.distil=false, compress.prune=false" in refused(given, capsys)


def test_data_that_are_not_there_are_told_before_any_step(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given["source"] = "./absent.csv"
    assert "source './absent.csv' does not exist; give a file, a folder" in refused(given, capsys)


def test_a_password_in_an_address_is_not_kept_with_the_run(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given["settings"]["tracking_uri"] = "https://me:hush@mlflow.example.org"
    said = refused(given, capsys)
    assert "tracking_uri holds a password" in said
    assert "hush" not in said


def test_a_pod_does_not_serve_in_itself(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
    assert "target is local: a model server in a pod of a step would end with it" in refused(given, capsys)
