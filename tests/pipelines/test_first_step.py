"""The pipeline's first step: what cannot go well is one message before any work, on Kubeflow Pipelines too."""

from pathlib import Path
from typing import Any

import pytest

from components.rollout.local.processes import free_ports
from pipelines.first import preflight
from pipelines.settings import SlipwaySettings


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of a run on this machine that can go well."""
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    arguments = SlipwaySettings().model_dump(mode="json")
    arguments["registry"] |= {"store": str(tmp_path / "store"), "keys": str(tmp_path / "keys")}
    arguments["rollout"] |= dict(zip(("http_port", "grpc_port"), free_ports(2), strict=True))
    tracking_uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return arguments | {"target": "local", "tracking_uri": tracking_uri, "service": str(tmp_path / "service")}


def refused(arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What the step prints when it ends as for bad input."""
    with pytest.raises(SystemExit) as ended:
        preflight.python_func(**arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_what_can_go_well_passes(given: dict[str, Any]) -> None:
    preflight.python_func(**given)


def test_a_setting_of_a_late_step_is_looked_at(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given["rollout"]["max_eror_rise"] = 0.1
    assert "rollout.max_eror_rise is unknown; did you mean rollout.max_error_rise" in refused(given, capsys)


def test_settings_of_two_steps_must_fit_together(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    given["train"]["privacy_epsilon"] = 3.0
    given["select"]["candidates"] = []
    assert "set compress.distil=false, compress.prune=false" in refused(given, capsys)


def test_a_password_in_an_address_is_not_kept_with_the_run(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given["tracking_uri"] = "https://me:hush@mlflow.example.org"
    said = refused(given, capsys)
    assert "tracking_uri holds a password" in said
    assert "hush" not in said


def test_a_pod_does_not_serve_in_itself(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
    assert "target is local: a model server in a pod of a step would end with it" in refused(given, capsys)
