"""The estimate of a run's Workflow object, held to what was seen of real runs of the first pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.kubeflow.compiled import Compiled, load
from tests.pipelines.kubeflow.values import Run
from tests.pipelines.kubeflow.workflow_size import COMPRESSED_FROM, RUN, SizeReport, growth, workflow_size

FIXTURES = Path(__file__).parent / "kubeflow" / "fixtures"
SEEN = json.loads((FIXTURES / "nodes-62e90cf.json").read_text("utf-8"))
"""Numbers of the nodes in the API's answers for two runs: one whose details froze, one whose `choose` failed."""
FOLDS = 6


@pytest.fixture(scope="module")
def old() -> Compiled:
    return load(FIXTURES / "pipeline-62e90cf.yaml")


@pytest.fixture(scope="module")
def item(old: Compiled) -> Any:
    """One fold as the step `plan` of then returned it: the whole settings of a training stood in it."""
    settings = old.components["root"]["inputDefinitions"]["parameters"]["train"]["defaultValue"]
    return {"candidate": {"name": "3 layers", "layers": 3.0}, "fold": 1.0, "settings": settings}


def _run(item: Any, **more: Any) -> Run:
    return Run(items=FOLDS, item=item, **more)


def _number(name: str) -> int:
    """The number of a node: Argo takes the FNV-1a hash of its name (`NodeID` in workflow_types.go)."""
    hashed = 0x811C9DC5
    for byte in name.encode():
        hashed = ((hashed ^ byte) * 0x01000193) & 0xFFFFFFFF
    return hashed


def _numbers(report: SizeReport, workflow: str) -> set[int]:
    return {_number(node.name.replace(RUN, workflow)) for node in report.nodes}


@pytest.mark.parametrize("run", SEEN)
def test_every_node_of_the_real_runs_is_foreseen(old: Compiled, item: Any, run: str) -> None:
    seen = SEEN[run]
    assert set(seen["children"]) <= _numbers(workflow_size(old, _run(item)), seen["workflow"])
    assert len(seen["children"]) > 130


def test_the_nodes_are_as_large_as_they_were_seen(old: Compiled, item: Any) -> None:
    sizes = {node.name: node.size for node in workflow_size(old, _run(item)).nodes}
    drivers = [size for name, size in sizes.items() if name.endswith("-driver") and name.count(".") > 2]
    steps = [size for size in drivers if size > 8_000]
    assert 24_000 < sizes[f"{RUN}(0).root-driver"] < 26_000  # seen: 25 KB
    assert 9_000 < min(steps) < 11_000  # seen: 10 KB
    assert 21_000 < max(steps) < 25_000  # seen: 23 KB


def test_the_object_passes_the_size_of_compression_where_the_details_froze(old: Compiled, item: Any) -> None:
    """In that run the driver of `train` was the last that the API showed, as pending; the data were cached."""
    seen = SEEN["frozen"]
    run = _run(item, cached={"prepare-data"}, skipped={"condition-4"})
    report = workflow_size(old, run)
    shown = [node for node in report.nodes if _number(node.name.replace(RUN, seen["workflow"])) in seen["children"]]
    train = [node for node in report.nodes if node.task.endswith("/train")]
    pending = [node for node in train if node in shown]
    assert [node.name.rpartition(".")[2] for node in pending] == ["train-driver", "train-driver(0)"]
    unwritten = sum(node.parts["pod-spec-patch"] for node in pending)
    before = report.fixed + sum(node.size for node in shown) - unwritten
    after = before + unwritten + sum(node.size for node in train if node not in pending)
    assert before < COMPRESSED_FROM < after


def test_the_first_pipeline_is_far_above_what_a_run_may_have(old: Compiled, item: Any) -> None:
    report = workflow_size(old, _run(item, skipped={"condition-4"}))
    assert 1_500_000 < report.total_bytes < 1_650_000
    assert (len(report.nodes), report.pods) == (174, 48)
    assert 65_000 < growth(old, _run(item)) < 75_000
    assert next(iter(report.by_part())) == "pod-spec-patch"
    assert report.by_part()["pod-spec-patch"] > report.total_bytes / 2
    assert sum(report.by_part().values()) == report.total_bytes
    assert sum(report.by_task().values()) == report.total_bytes - report.fixed


def test_a_step_from_the_cache_leaves_little(old: Compiled, item: Any) -> None:
    whole = workflow_size(old, _run(item)).by_task()
    cached = workflow_size(old, _run(item, cached={"train"})).by_task()
    name = "comp-exit-handler-1/train"
    assert cached[name] < whole[name] / 3
    assert all(cached[other] == size for other, size in whole.items() if other != name)


def test_values_that_steps_return_count_at_their_consumers(old: Compiled, item: Any) -> None:
    small = workflow_size(old, _run(item, outputs={"choose.Output": {}})).by_task()["comp-exit-handler-1/train"]
    large = workflow_size(old, _run(item, outputs={"choose.Output": {"why": "x" * 1000}}))
    assert large.by_task()["comp-exit-handler-1/train"] - small > 6_000
