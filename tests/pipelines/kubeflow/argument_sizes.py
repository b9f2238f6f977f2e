"""Sizes that a run must stay under: arguments of drivers and launchers, and the Workflow object."""

from collections.abc import Iterator

from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, ROOT, Compiled, Fault, Task
from tests.pipelines.kubeflow.go_json import go_json
from tests.pipelines.kubeflow.pod_patch import executor_input
from tests.pipelines.kubeflow.values import items_of, resolve, root_values
from tests.pipelines.kubeflow.workflow_size import growth, workflow_size


def arguments(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """No argument is longer than a process can get, and no driver gets more than an Argo template holds."""
    limit = assumptions.limits.argument
    values = root_values(compiled, assumptions.run)
    root = {"component": go_json(compiled.components[ROOT]), "runtime-config": go_json({"parameterValues": values})}
    yield from _too_long(ROOT, root, limit)
    yield from _of_tasks(compiled, assumptions, ROOT, values)


def _of_tasks(compiled: Compiled, assumptions: Assumptions, dag: str, values: JSON) -> Iterator[Fault]:
    for task in compiled.tasks_of(dag).values():
        given = resolve(compiled, assumptions.run, task, values)
        if task.iterator is not None:
            given[task.iterator["itemInput"]] = max(
                items_of(task, given, assumptions.run), key=lambda one: len(go_json(one))
            )
        yield from _too_long(task.where, _arguments(compiled, task, given), assumptions.limits.argument)
        if task.is_dag:
            yield from _of_tasks(compiled, assumptions, task.spec["componentRef"]["name"], given)


def _arguments(compiled: Compiled, task: Task, values: JSON) -> dict[str, str]:
    found = {"component": go_json(task.component), "task": go_json(task.spec)}
    if not task.is_dag:
        found["container"] = go_json(compiled.container(task.component))
        found["executor input"] = go_json(executor_input(compiled.name, task.name, task.component, values))
    return found


def _too_long(where: str, parts: dict[str, str], limit: int) -> Iterator[Fault]:
    sizes = {name: len(text.encode()) for name, text in parts.items()}
    for name, size in sizes.items():
        if size > limit:
            yield Fault("argument-size", where, f"{name} has {size} bytes, and {limit} is the most")
    if max(sizes.values()) <= limit < sum(sizes.values()):
        yield Fault(
            "argument-size", where, f"{' and '.join(sizes)} have {sum(sizes.values())} bytes, {limit} is the most"
        )


def texts(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """Descriptions and sources are short: every node of a task holds them."""
    limits = assumptions.limits
    for name in compiled.reachable():
        component = compiled.components[name]
        total = sum(len(text) for text in _descriptions(component))
        if total > limits.descriptions:
            yield Fault("descriptions", name, f"{total} characters, and {limits.descriptions} is the most")
        if "executorLabel" in component:
            command = compiled.container(component).get("command", [])
            longest = max((len(part) for part in command), default=0)
            if longest > limits.source:
                yield Fault("source", name, f"{longest} characters, and {limits.source} is the most")


def _descriptions(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "description" and isinstance(inner, str):
                yield inner
            else:
                yield from _descriptions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _descriptions(inner)


def workflow(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """The Workflow object stays far from the size at which Argo compresses it, also with more items in its loops."""
    limits = assumptions.limits
    report = workflow_size(compiled, assumptions.run)
    if report.total_bytes > limits.workflow:
        largest = ", ".join(f"{name} {size}" for name, size in list(report.by_task().items())[:3])
        yield Fault(
            "workflow-size", "run", f"{report.total_bytes} bytes, and {limits.workflow} is the most; largest: {largest}"
        )
    more = 0
    if assumptions.larger is not None:
        larger, folds = assumptions.larger
        more = (workflow_size(compiled, larger).total_bytes - report.total_bytes) // folds
    elif any(task.iterator for task in compiled.tasks()):
        more = growth(compiled, assumptions.run)
    if more > limits.growth:
        yield Fault("workflow-growth", "run", f"{more} bytes for each fold, and {limits.growth} is the most")
