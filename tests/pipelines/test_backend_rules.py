"""The rules of the backend of Kubeflow Pipelines: each fault, put into a good pipeline, is named."""

from pathlib import Path

import pytest
from kfp import dsl

from pipelines.pipeline import pipeline
from tests.pipelines.kubeflow import small as good
from tests.pipelines.kubeflow.assumptions import Assumptions, Limits
from tests.pipelines.kubeflow.compiled import Compiled, Fault, compile_pipeline, load
from tests.pipelines.kubeflow.faults import FAULTS
from tests.pipelines.kubeflow.graph import graph
from tests.pipelines.kubeflow.rules import check
from tests.pipelines.kubeflow.schema import needs_version
from tests.pipelines.kubeflow.values import Run

OLD = Path(__file__).parent / "kubeflow" / "fixtures" / "pipeline-62e90cf.yaml"
"""The pipeline as it was when it was first run on the backend, which found what is wrong in it."""
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


def test_a_good_pipeline_has_no_fault(small) -> None:
    assert check(small, SMALL) == []


@pytest.mark.xfail(strict=True, reason="the pipeline is not yet made for the backend; its faults are in the test below")
def test_the_pipeline_keeps_the_rules() -> None:
    faults = check(compile_pipeline(pipeline), Assumptions(never_empty={"plan.items"}))
    assert not faults, "\n".join(map(str, faults))


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
def test_a_fault_is_named(small, fault) -> None:
    rule, where, change = FAULTS[fault]
    broken = small.copy()
    change(broken)
    assert (rule, where) in _named(check(broken, SMALL))


def test_growth_is_measured_by_folds_that_the_caller_names(small) -> None:
    more = Assumptions(
        never_empty={"preflight.shares"}, run=SMALL.run, larger=(Run(items=12), 10), limits=Limits(growth=15_000)
    )
    assert _named(check(small, more)) == {("workflow-growth", "run")}


def test_a_loop_over_a_step_s_list_needs_the_promise_that_it_is_not_empty(small) -> None:
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
def test_one_of_is_refused_over_branches_that_may_come_from_the_cache(cached) -> None:
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


def test_fields_of_the_platform_name_the_backend_that_they_need(small) -> None:
    assert needs_version(small) == {"securityContext": "2.16", "secretAsEnv.optional": "2.15"}


def test_the_graph_shows_every_task_and_counts_the_pods(small) -> None:
    drawn = graph(small, Run(items=2))
    assert drawn.splitlines()[0] == "small: 6 steps (3 cached), 4 DAGs below the root"
    assert "│  │  └─ for-loop-1: loop, 2 at a time" in drawn
    assert "└─ report: always runs, at the end, whatever happened" in drawn
    # root, exit handler, nested pipeline, loop, condition: a driver each; an iteration has one more than its step's two
    assert "2 items in each loop: 21 pods, " in drawn
