"""The components evaluate and register in a real pipeline under kfp.local, with the gate between them."""

import json
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from components.dataset import TextDataset
from components.evaluate.component import evaluate
from components.evaluate.settings import EvaluateSettings
from components.register.component import register
from components.register.settings import RegistrySettings
from components.registry import Registry

MODEL_NAME = "topics"


@dsl.pipeline  # type: ignore[untyped-decorator]
def gated(
    draft: str,
    dataset: str,
    before: str,
    settings: dict,  # type: ignore[type-arg]
    registry: dict,  # type: ignore[type-arg]
    tracking_uri: str,
) -> None:
    bundle = dsl.importer(artifact_uri=draft, artifact_class=dsl.Model)
    data = dsl.importer(artifact_uri=dataset, artifact_class=dsl.Dataset)
    results = dsl.importer(artifact_uri=before, artifact_class=dsl.Artifact)
    evaluated = evaluate(
        draft=bundle.output,
        dataset=data.output,
        settings=settings,
        tracking_uri=tracking_uri,
        model_name=MODEL_NAME,
        results_before=results.output,
    )
    with dsl.If(evaluated.outputs["Output"] == True):  # noqa: E712  # kfp overloads ==
        register(
            draft=bundle.output,
            settings=registry,
            tracking_uri=tracking_uri,
            model_name=MODEL_NAME,
            run="run-1",
            results_before=evaluated.outputs["results"],
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run_pipeline(home: Path, draft: Path, dataset: TextDataset, settings: EvaluateSettings) -> dict[str, Any]:
    """Run the pipeline and return its results, which the run's folder holds as well."""
    (home / "before.json").write_text(json.dumps({"train": {"epochs": 1}}))
    root = home / "root"
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root))
    gated(
        draft=str(draft),
        dataset=str(dataset.folder),
        before=str(home / "before.json"),
        settings=settings.model_dump(),
        registry=RegistrySettings(store=str(home / "bundles"), keys=str(home / "keys")).model_dump(),
        tracking_uri=f"sqlite:///{home}/mlflow.db",
    )
    newest = max(root.rglob("results"), key=lambda path: path.stat().st_mtime_ns)
    results: dict[str, Any] = json.loads(newest.read_text())
    return results


def test_a_refused_challenger_ends_the_pipeline_without_a_version(
    home: Path, draft_bundle: Path, small_dataset: TextDataset
) -> None:
    results = run_pipeline(home, draft_bundle, small_dataset, EvaluateSettings(max_calibration_error=0.0001))
    assert list(results) == ["train", "evaluate"]
    assert results["evaluate"]["gate"]["passed"] is False
    assert Registry(f"sqlite:///{home}/mlflow.db", MODEL_NAME).challenger() is None


def test_a_challenger_that_passes_the_gate_is_registered(
    home: Path, draft_bundle: Path, small_dataset: TextDataset
) -> None:
    results = run_pipeline(home, draft_bundle, small_dataset, EvaluateSettings())
    assert list(results) == ["train", "evaluate", "register"]
    challenger = Registry(f"sqlite:///{home}/mlflow.db", MODEL_NAME).challenger()
    assert challenger is not None
    assert challenger.bundle_uri == results["register"]["bundle_uri"]
