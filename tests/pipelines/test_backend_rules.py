"""The rules of the backend of Kubeflow Pipelines: each fault, put into a good pipeline, is named."""

# kfp has no types, and takes no parametrised list in an annotation:
# mypy: disable-error-code="untyped-decorator, type-arg, no-any-return"

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from slipway.components.prepare_data import sources
from slipway.components.select_model import step as select_model
from slipway.components.select_model.settings import SelectSettings
from slipway.pipelines import step_requests
from slipway.pipelines.cluster_settings import for_pods
from slipway.pipelines.pipeline import pipeline
from slipway.pipelines.pipeline_parameters import filled
from slipway.pipelines.settings import SlipwaySettings, load_settings
from slipway.pipelines.step_requests import requests_of
from tests.pipelines.kubeflow import small as good
from tests.pipelines.kubeflow.assumptions import Assumptions, Limits
from tests.pipelines.kubeflow.compiled import Compiled, Fault, compile_pipeline, load
from tests.pipelines.kubeflow.faults import FAULTS
from tests.pipelines.kubeflow.graph import graph
from tests.pipelines.kubeflow.rules import check
from tests.pipelines.kubeflow.schema import needs_version
from tests.pipelines.kubeflow.values import Run
from tests.pipelines.kubeflow.workflow_size import workflow_size

OLD = Path(__file__).parent / "kubeflow" / "fixtures" / "pipeline-62e90cf.yaml"
"""The pipeline as it was when it was first run on the backend, which found what is wrong in it."""
OURS = 540_000
"""Bytes of the Workflow object of a run with few candidates. The ten steps that the pipeline has cannot take less than
400 kB: an empty step takes 24 kB, and the DAGs and the specification 120 kB. From 1 MiB on the details freeze.
"""
EXAMPLES = {
    "defaults": SlipwaySettings(),
    "one candidate": SlipwaySettings(select=SelectSettings(candidates=[])),
    "second task of the repository": load_settings(Path(__file__).parents[2] / "slipway.yaml"),
    "own data, many settings": load_settings(
        None,
        [
            "data.source=s3://mine/reviews",
            "data.text_column=review",
            "model_name=reviews",
            "train.encoder=distilbert-base-uncased",
            "train.learning_rate=3e-5",
            "train.processes=4",
            "cluster.namespace=ml",
            "cluster.store=s3://mine",
            "rollout.steps='5,20,50'",
            "rollout.sticky_header=x-user",
        ],
    ),
}
SMALL = Assumptions(
    never_empty={"preflight.shares"},
    run=Run(items=2),
    larger=(Run(items=2, item={"share": list(range(10))}), 10),
)


@pytest.fixture(scope="module")
def small() -> Compiled:
    return compile_pipeline(good.small)


def _named(faults: list[Fault]) -> set[tuple[str, str]]:
    return {(fault.rule, fault.where) for fault in faults}


def test_a_good_pipeline_has_no_fault(small: Compiled) -> None:
    assert check(small, SMALL) == []


def of_a_run(settings: SlipwaySettings) -> Run:
    """What is known of a run on a cluster before it starts: its form, and what each step is asked."""
    requests = requests_of(for_pods(settings), "run-1")
    score = {"candidate": "3 layers", "fold": 0, "macro_f1": 0.61234567890123, "seconds": 12.3, "tokens": 12345}
    outputs = {f"preflight.{name}": value for name, value in requests._asdict().items()}
    outputs |= {"cross-validate.Output": [score] * settings.select.folds, "evaluate.Output": True}
    return Run(parameters=filled(for_pods(settings), for_pods(SlipwaySettings())), outputs=outputs)


def with_select(**changes: Any) -> SlipwaySettings:
    return SlipwaySettings(select=SelectSettings(**changes))


@pytest.fixture(scope="module")
def ours() -> Compiled:
    return compile_pipeline(pipeline)


@pytest.fixture
def in_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first task runs; stores and hubs, which are not here, tell what they tell there."""
    monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
    monkeypatch.setattr(sources, "version", lambda _: "0" * 64)
    for module in (step_requests, select_model):
        monkeypatch.setattr(module, "encoder_identity", lambda name: f"{name}@{'0' * 40}")


@pytest.mark.usefixtures("in_a_pod")
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_pipeline_keeps_the_rules(ours: Compiled, example: str) -> None:
    settings = EXAMPLES[example]
    folds = settings.select.model_copy(update={"folds": settings.select.folds + 5})
    more = of_a_run(settings.model_copy(update={"select": folds}))
    known = Assumptions(
        never_empty={"preflight.compare"},  # tests/components/select_model/test_select_step.py
        run=of_a_run(settings),
        larger=(more, 5 * max(1, len(settings.select.candidates))),
        limits=Limits(workflow=OURS),
    )
    faults = check(ours, known)
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.usefixtures("in_a_pod")
def test_the_largest_comparison_leaves_the_object_below_what_argo_compresses(ours: Compiled) -> None:
    candidates = [{"learning_rate": number * 1e-5} for number in range(1, 31)]
    largest = workflow_size(ours, of_a_run(with_select(candidates=candidates, folds=10)))
    assert largest.total_bytes < 0.85 * 2**20


def test_the_first_pipeline_has_the_faults_that_the_backend_showed() -> None:
    cached = ("prepare-data", "plan", "cross-validate", "collect", "no-scores", "choose", "train", "compress")
    assumptions = Assumptions(version_inputs={"code_version"}, never_empty={"plan.items"}, run=Run(items=6))
    faults = check(load(OLD), assumptions)
    at = {(fault.rule, fault.where.rpartition("/")[2]) for fault in faults}
    assert at == {
        ("type", "cross-validate.item"),  # the driver of every fold failed
        ("one-of", "comp-condition-branches-1.pipelinechannel--condition-branches-1-oneof-1"),  # a second run failed
        *(("cache-environment", name) for name in cached),  # changed code was not seen
        *(("cache-version", name) for name in cached if name != "compress"),
        ("descriptions", "root"),  # the rest: the object grew past 1 MiB, and the details froze
        ("source", "comp-evaluate"),
        ("source", "comp-train"),
        ("workflow-size", "run"),
        ("workflow-growth", "run"),
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(small: Compiled, fault: str) -> None:
    rule, where, change = FAULTS[fault]
    broken = small.copy()
    change(broken)
    assert (rule, where) in _named(check(broken, SMALL))


def test_growth_is_measured_by_folds_that_the_caller_names(small: Compiled) -> None:
    more = Assumptions(
        never_empty={"preflight.shares"}, run=SMALL.run, larger=(Run(items=12), 10), limits=Limits(growth=15_000)
    )
    assert _named(check(small, more)) == {("workflow-growth", "run")}


def test_a_loop_over_a_step_s_list_needs_the_promise_that_it_is_not_empty(small: Compiled) -> None:
    faults = check(small, Assumptions(run=SMALL.run, larger=SMALL.larger))
    assert _named(faults) == {("zero-items", "comp-folds/for-loop-1")}
    assert "preflight.shares may be empty" in faults[0].message


def test_a_loop_over_a_plain_list_gives_its_tasks_text() -> None:
    @dsl.component(base_image=good.IMAGE, install_kfp_package=False)
    def plan() -> list:
        return []

    @dsl.pipeline(name="plain")
    def plain() -> None:
        with dsl.ParallelFor(plan().set_caching_options(False).output) as item:
            good.compare(dataset=good.prepare(settings={}, version="1").output, share=item, version="1")

    assert ("type", "comp-for-loop-1/compare.share") in _named(check(compile_pipeline(plain), SMALL))


@pytest.mark.parametrize("cached", [True, False])
def test_one_of_is_refused_over_branches_that_may_come_from_the_cache(cached: bool) -> None:
    @dsl.component(base_image=good.IMAGE, install_kfp_package=False)
    def flag(version: str) -> bool:
        return bool(version)

    @dsl.pipeline(name="branches")
    def branches() -> bool:
        asked = flag(version="1")
        with dsl.If(asked.output == True):  # noqa: E712  # kfp overloads ==
            left = flag(version="1").set_caching_options(cached)
        with dsl.Else():
            right = flag(version="2").set_caching_options(cached)
        return dsl.OneOf(left.output, right.output)

    rules = {fault.rule for fault in check(compile_pipeline(branches), SMALL)}
    assert rules == ({"one-of"} if cached else set())


def test_fields_of_the_platform_name_the_backend_that_they_need(small: Compiled) -> None:
    assert needs_version(small) == {"securityContext": "2.16", "secretAsEnv.optional": "2.15"}


def test_the_graph_shows_every_task_and_counts_the_pods(small: Compiled) -> None:
    drawn = graph(small, Run(items=2))
    assert drawn.splitlines()[0] == "small: 6 steps (3 cached), 4 DAGs below the root"
    assert "│  │  └─ for-loop-1: loop, 2 at a time" in drawn
    assert "└─ report: always runs, at the end, whatever happened" in drawn
    # root, exit handler, nested pipeline, loop, condition: a driver each; an iteration has one more than its step's two
    assert "2 items in each loop: 21 pods, " in drawn
