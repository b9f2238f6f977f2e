"""The component around the step compress."""

import shutil
from pathlib import Path

import pytest
from kfp import dsl

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress.component import compress
from slipway.components.step_runtime import step_context


def test_the_component_hands_on_bundle_results_page_and_metrics(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_checkpoint, teacher)
    (teacher / "results.json").write_text('{"train": {"seconds": 1}}', "utf-8")
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    settings = {"distil": False, "prune": False, "latency_rounds": 3, "train_threads": 1, "serving_threads": 1}
    compress.python_func(
        model=dsl.Model(uri=str(teacher)),
        dataset=dsl.Dataset(uri=str(small_dataset.folder)),
        request={"settings": settings, "model_name": "messages"},
        version="v1",
        draft=dsl.Model(uri=str(tmp_path / "draft")),
        compression_report=dsl.HTML(uri=str(tmp_path / "out" / "page.html")),
        compression_metrics=metrics,
    )
    results = step_context.results_in(str(tmp_path / "draft"))
    bundle = Bundle(tmp_path / "draft" / "bundle")
    assert results["train"] == {"seconds": 1}
    assert bundle.info.variant == results["compress"]["chosen"]
    assert bundle.info.code_version == "v1"
    assert results["compress"]["chosen"] in (tmp_path / "out" / "page.html").read_text("utf-8")
    assert metrics.metadata["size_bytes"] == pytest.approx(bundle.size, rel=0.01)
