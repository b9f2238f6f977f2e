"""Which tasks run, and whether what others need of them is there: branches, loops and the exit task."""

import json
from collections.abc import Iterator

from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, ROOT, Compiled, Fault, Task
from tests.pipelines.kubeflow.parameter_types import FINAL_STATUS, declared


def _cached_in(compiled: Compiled, task: Task) -> list[str]:
    """The steps in a task, itself included, that the cache may skip."""
    if not task.is_dag:
        return [task.name] if task.is_cached else []
    inner = compiled.tasks_of(task.spec["componentRef"]["name"]).values()
    return [name for one in inner for name in _cached_in(compiled, one)]


def _selectors(source: JSON) -> list[JSON]:
    if "valueFromOneof" in source:
        return list(source["valueFromOneof"].get("parameterSelectors", []))
    if "artifactSelectors" in source:
        return list(source["artifactSelectors"])
    return [source["valueFromParameter"]] if "valueFromParameter" in source else []


def one_of(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """No `dsl.OneOf` over branches that hold cached steps.

    It takes the first branch whose state is COMPLETE or CACHED (`GetProducerTask` in driver/resolve.go), and only
    launchers update the state of a sub-DAG: one whose steps all came from the cache stays RUNNING, and the consumer's
    driver fails with "No successful task found".
    """
    for name in compiled.reachable():
        outputs = compiled.components[name].get("dag", {}).get("outputs", {})
        for kind in ("parameters", "artifacts"):
            for key, source in outputs.get(kind, {}).items():
                branches = _selectors(source)
                if len(branches) < 2 and "valueFromOneof" not in source:
                    continue
                tasks = compiled.tasks_of(name)
                cached = [step for one in branches for step in _cached_in(compiled, tasks[one["producerSubtask"]])]
                if cached:
                    yield Fault(
                        "one-of", f"{name}.{key}", f"it picks among branches with cached steps: {', '.join(cached)}"
                    )


def conditional_outputs(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Nobody needs the output of a task that a condition may skip, except by `dsl.OneOf`.

    Argo runs a task after `producer.Succeeded` (`depends` in argocompiler/dag.go), which a skipped one never is.
    """
    for name in compiled.reachable():
        tasks = compiled.tasks_of(name)
        conditional = {key for key, task in tasks.items() if task.condition}
        for task in tasks.values():
            for producer in sorted(_producers(task) & conditional):
                yield Fault("conditional-output", task.where, f"it needs an output of {producer}, which may be skipped")
        outputs = compiled.components[name].get("dag", {}).get("outputs", {})
        for key, source in {**outputs.get("parameters", {}), **outputs.get("artifacts", {})}.items():
            single = _selectors(source)
            if len(single) == 1 and single[0]["producerSubtask"] in conditional:
                yield Fault("conditional-output", f"{name}.{key}", f"{single[0]['producerSubtask']} may be skipped")


def _producers(task: Task) -> set[str]:
    found = {source.get("taskOutputParameter", {}).get("producerTask") for source in task.parameters.values()}
    found |= {source.get("taskOutputArtifact", {}).get("producerTask") for source in task.artifacts.values()}
    return {name for name in found if name}


def loops_have_items(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """A loop whose outputs are collected has an item at least.

    With none, the driver of whoever collects does not see a loop (`iterations > 0` in `resolveUpstreamParameters`),
    looks for a single task and fails. Lists of steps are in `Assumptions.never_empty`, with a test of the step.
    """
    for task in compiled.tasks():
        if task.iterator is None or not _is_collected(compiled, task):
            continue
        for origin in _origins(compiled, task):
            if origin in assumptions.never_empty:
                continue
            if origin.startswith("["):
                if not json.loads(origin):
                    yield Fault("zero-items", task.where, "it loops over no item, and its outputs are collected")
            else:
                yield Fault(
                    "zero-items",
                    task.where,
                    f"{origin} may be empty, and the loop's outputs are collected; name it in never_empty and prove it",
                )


def _is_collected(compiled: Compiled, loop: Task) -> bool:
    siblings = compiled.tasks_of(loop.dag).values()
    outputs = compiled.components[loop.dag].get("dag", {}).get("outputs", {})
    returned = [one for kind in outputs.values() for source in kind.values() for one in _selectors(source)]
    return any(loop.name in _producers(task) for task in siblings) or any(
        one["producerSubtask"] == loop.name for one in returned
    )


def _origins(compiled: Compiled, loop: Task) -> list[str]:
    """Where the items of a loop come from: a list as JSON, `task.output`, or `root.parameter` without a default."""
    assert loop.iterator is not None
    if "raw" in loop.iterator["items"]:
        return [str(loop.iterator["items"]["raw"])]
    return _trace(compiled, loop, loop.iterator["items"]["inputParameter"])


def _trace(compiled: Compiled, task: Task, key: str) -> list[str]:
    source = task.parameters.get(key)
    if source is None:
        default = declared(task.component).get(key, {}).get("defaultValue")
        return [json.dumps(default)] if isinstance(default, list) else [f"{task.name}.{key}"]
    if "taskOutputParameter" in source:
        made_by = source["taskOutputParameter"]
        return [f"{made_by['producerTask']}.{made_by['outputParameterKey']}"]
    if "runtimeValue" in source:
        return [json.dumps(source["runtimeValue"].get("constant"))]
    name = source.get("componentInputParameter", "")
    if task.dag == ROOT:
        default = declared(compiled.components[ROOT]).get(name, {}).get("defaultValue")
        return [json.dumps(default)] if isinstance(default, list) else [f"root.{name}"]
    users = [user for user in compiled.tasks() if user.spec["componentRef"]["name"] == task.dag]
    return [origin for user in users for origin in _trace(compiled, user, name)]


def exit_tasks(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """The exit task needs nothing that a failed run lacks, and the final status goes to it alone.

    It is the exit hook of the DAG that it names first in `dependentTasks` (argocompiler/dag.go), and the status is that
    of this DAG (`resolveInputParameter`).
    """
    for task in compiled.tasks():
        statuses = [key for key, source in task.parameters.items() if "taskFinalStatus" in source]
        wanted = [k for k, spec in declared(task.component).items() if spec.get("parameterType") == FINAL_STATUS]
        if statuses and not task.is_exit:
            yield Fault("exit-task", task.where, "only an exit task has a final status")
        if not task.is_exit:
            continue
        if not task.dependencies or not compiled.tasks_of(task.dag)[task.dependencies[0]].is_dag:
            yield Fault("exit-task", task.where, "it must wait for the DAG whose end it handles")
        for key in sorted(set(wanted) ^ set(statuses)):
            yield Fault("exit-task", f"{task.where}.{key}", "a final status and a parameter of its type go together")
        for key, source in task.parameters.items():
            if "taskOutputParameter" in source:
                yield Fault("exit-task", f"{task.where}.{key}", "it needs an output that a failed run does not have")
        for key in task.artifacts:
            yield Fault("exit-task", f"{task.where}.{key}", "it needs an artifact that a failed run does not have")
        if task.is_cached:
            yield Fault("exit-task", task.where, "it may come from the cache, and would then not run")
