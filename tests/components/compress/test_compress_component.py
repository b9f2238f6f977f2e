"""The component around the step compress."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.bundle import Bundle
from components.compress.component import compress
from components.dataset import TextDataset


def test_the_component_hands_on_bundle_results_page_and_metrics(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    before = tmp_path / "before.json"
    before.write_text('{"train": {"seconds": 1}}', "utf-8")
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    compress.python_func(
        model=dsl.Model(uri=str(tiny_checkpoint)),
        dataset=dsl.Dataset(uri=str(small_dataset.folder)),
        settings={"distil": False, "prune": False, "latency_rounds": 3, "train_threads": 1, "serving_threads": 1},
        model_name="messages",
        code_version="v1",
        results_before=dsl.Artifact(uri=str(before)),
        draft=dsl.Model(uri=str(tmp_path / "draft")),
        results=dsl.Artifact(uri=str(tmp_path / "out" / "results.json")),
        html=dsl.HTML(uri=str(tmp_path / "out" / "page.html")),
        metrics=metrics,
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert results["train"] == {"seconds": 1}
    assert Bundle(tmp_path / "draft").info.variant == results["compress"]["chosen"]
    assert results["compress"]["chosen"] in (tmp_path / "out" / "page.html").read_text("utf-8")
    assert metrics.metadata["size_bytes"] == pytest.approx(Bundle(tmp_path / "draft").size, rel=0.01)
