"""The components evaluate and register in a real pipeline under kfp.local, with the gate between them."""

import builtins
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.evaluate.component import evaluate
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.platforms.model_registry import Registry
from slipway.components.register.component import register
from slipway.components.register.settings import RegistrySettings
from slipway.components.step_runtime import step_context
from slipway.components.step_runtime.step_request import StepRequest
from tests.components import step_results

MODEL_NAME = "topics"


@dsl.pipeline  # type: ignore[untyped-decorator]
def gated(
    draft: str,
    dataset: str,
    evaluation: dict,  # type: ignore[type-arg]
    registration: dict,  # type: ignore[type-arg]
) -> None:
    bundle = dsl.importer(artifact_uri=draft, artifact_class=dsl.Model)
    data = dsl.importer(artifact_uri=dataset, artifact_class=dsl.Dataset)
    evaluated = evaluate(draft=bundle.output, dataset=data.output, request=evaluation)
    with dsl.If(evaluated.outputs["Output"] == True):  # noqa: E712  # kfp overloads ==
        register(draft=bundle.output, request=registration)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def run(
    home: Path, draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[EvaluateSettings], dict[str, Any]]:
    """Runs the pipeline and returns its results, which the run's folder holds."""
    monkeypatch.setattr(builtins, "print", print)  # kfp.local wraps it in each thread of a loop, and may leave it so
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    draft = tmp_path / "draft"
    shutil.copytree(draft_bundle, draft / "bundle")
    (draft / "results.json").write_text(json.dumps({"train": step_results.train()}))

    def run(settings: EvaluateSettings) -> dict[str, Any]:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
        asked = StepRequest(model_name=MODEL_NAME, tracking_uri=f"sqlite:///{home}/mlflow.db")
        registry = RegistrySettings(store=str(home / "bundles"), keys=str(home / "keys"))
        gated(
            draft=str(draft),
            dataset=str(small_dataset.folder),
            evaluation=asked.model_copy(update={"settings": settings.model_dump()}).plain(),
            registration=asked.model_copy(update={"settings": registry.model_dump()}).plain(),
        )
        return step_context.record().results

    return run


def test_a_refused_challenger_ends_the_pipeline_without_a_version(
    home: Path, run: Callable[[EvaluateSettings], dict[str, Any]]
) -> None:
    results = run(EvaluateSettings(max_calibration_error=0.0001))
    assert list(results) == ["train", "evaluate"]
    assert results["evaluate"]["gate"]["passed"] is False
    assert Registry(f"sqlite:///{home}/mlflow.db", MODEL_NAME).challenger() is None


def test_a_challenger_that_passes_the_gate_is_registered_and_its_card_knows_the_test(
    home: Path, run: Callable[[EvaluateSettings], dict[str, Any]]
) -> None:
    results = run(EvaluateSettings())
    assert list(results) == ["train", "evaluate", "register"]
    challenger = Registry(f"sqlite:///{home}/mlflow.db", MODEL_NAME).challenger()
    assert challenger is not None
    assert challenger.bundle_uri == results["register"]["bundle_uri"]
    assert f"{results['evaluate']['challenger']['macro_f1']:.3f}" in results["register"]["model_card"]
