"""Results of earlier runs are read: `results-62e90cf.json` has what two runs of the version 62e90cf wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.components.compress.result import CompressResult
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.register.result import RegisterResult
from slipway.components.rollout.result import RolloutResult
from slipway.components.select_model.result import SelectModelResult
from slipway.components.step_runtime.step_result import StepResult
from slipway.components.train.result import TrainResult

FORMS: list[type[StepResult]] = [
    CompressResult,
    EvaluateResult,
    PrepareDataResult,
    RegisterResult,
    RolloutResult,
    SelectModelResult,
    TrainResult,
]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parent / "results-62e90cf.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_the_result_of_each_step_is_read_and_written_as_it_was(form: type[StepResult], results: dict[str, Any]) -> None:
    found = form.found_in(results)
    assert found
    assert found.to_json() == results[form.step]


@pytest.mark.parametrize("form", FORMS)
def test_what_a_later_version_adds_is_ignored(form: type[StepResult], results: dict[str, Any]) -> None:
    later = {name: result | {"added_later": {"value": 1}} for name, result in results.items()}
    assert form.found_in(later) == form.found_in(results)


def test_what_came_later_has_a_default(results: dict[str, Any]) -> None:
    evaluation, rollout = EvaluateResult.found_in(results), RolloutResult.found_in(results)
    assert evaluation
    assert evaluation.roc is None
    assert rollout
    assert rollout.requests.challenger_abandoned == 0
