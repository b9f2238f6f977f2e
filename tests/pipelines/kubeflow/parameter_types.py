"""Types along every edge: what a task declares for a parameter, and what arrives there.

The driver of the consuming task refuses a value of another type (`handleParamTypeValidationAndConversion`) and a value
that does not exist (`resolveInputParameter`); nothing of the step has run then [driver/resolve.go of
kubeflow/pipelines 2.17.0]. A STRING takes any value, as JSON text; that counts as a fault too: no step expects it.
"""

import json
from collections.abc import Iterator
from typing import Any

from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, ROOT, Compiled, Fault, Task

NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}
FINAL_STATUS = "TASK_FINAL_STATUS"
UNKNOWN = ""


def type_of(value: Any) -> str:
    """The type that a JSON value has for the driver; a whole number is an integer too."""
    for kind, name in (
        (bool, "BOOLEAN"),
        (str, "STRING"),
        (int, "NUMBER_INTEGER"),
        (float, "NUMBER_DOUBLE"),
        (list, "LIST"),
        (dict, "STRUCT"),
    ):
        if isinstance(value, kind):
            return name
    return "null"


def fits(given: str, declared: str) -> bool:
    """Whether the driver takes a value of one type for a parameter of another; it tells no integers from doubles."""
    return UNKNOWN in (given, declared) or given == declared or {given, declared} <= NUMBERS


def declared(component: JSON, side: str = "inputDefinitions") -> JSON:
    """Parameters of a component with their definitions."""
    return dict(component.get(side, {}).get("parameters", {}))


def output_type(task: Task, key: str) -> str | None:
    """Type of a task's output as its consumers see it: a LIST where the task is a loop; None where there is none.

    `dsl.Collected` is compiled to the loop's own output, and the driver gathers a list for it (`CollectInputs`).
    """
    spec = declared(task.component, "outputDefinitions").get(key)
    if spec is None:
        return None
    return "LIST" if task.iterator is not None else str(spec.get("parameterType", UNKNOWN))


def default_values(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Defaults have the declared types [apiserver/template/v2_template.go: `validatePipelineJobInputs`]."""
    for name in compiled.reachable():
        for key, spec in declared(compiled.components[name]).items():
            kind = spec.get("parameterType", UNKNOWN)
            if "defaultValue" in spec and not fits(type_of(spec["defaultValue"]), kind):
                default = json.dumps(spec["defaultValue"])[:60]
                message = f"the default {default} is {type_of(spec['defaultValue'])}, not {kind}"
                yield Fault("default-type", f"{name}.{key}", message)
            if name == ROOT and kind == FINAL_STATUS:
                yield Fault("default-type", f"{name}.{key}", f"a pipeline takes no parameter of type {kind}")


def required_inputs(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """What a task needs is given, and what it is given is declared."""
    for task in compiled.tasks():
        for key, spec in declared(task.component).items():
            is_item = task.iterator is not None and task.iterator["itemInput"] == key
            if key in task.parameters or is_item or spec.get("isOptional") or "defaultValue" in spec:
                continue
            yield Fault("missing-input", f"{task.where}.{key}", "neither a value nor a default: its driver fails")
        for key in task.parameters.keys() - declared(task.component).keys():
            yield Fault("undeclared-input", f"{task.where}.{key}", "the component does not declare it")


def parameter_edges(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Every parameter's source exists and has the declared type."""
    loops = {task.spec["componentRef"]["name"]: task for task in compiled.tasks() if task.iterator is not None}
    for task in compiled.tasks():
        kinds = {key: spec.get("parameterType", UNKNOWN) for key, spec in declared(task.component).items()}
        for key, source in task.parameters.items():
            kind = kinds.get(key, UNKNOWN)
            is_optional = bool(declared(task.component).get(key, {}).get("isOptional"))
            for rule, message in _edge(compiled, task, source, kind, is_optional, loops.get(task.dag)):
                yield Fault(rule, f"{task.where}.{key}", message)
    yield from _dag_outputs(compiled)


def _edge(
    compiled: Compiled, task: Task, source: JSON, kind: str, is_optional: bool, loop: Task | None
) -> Iterator[tuple[str, str]]:
    if "componentInputParameter" in source:
        name = source["componentInputParameter"]
        spec = declared(compiled.components[task.dag]).get(name)
        if spec is None:
            yield "unknown-source", f"its DAG {task.dag} has no parameter {name}"
            return
        if loop is not None and loop.iterator is not None and loop.iterator["items"].get("inputParameter") == name:
            yield "unknown-source", f"an iteration has no {name}, only the loop has: its driver takes it out"
        if not fits(spec.get("parameterType", UNKNOWN), kind):
            yield "type", f"{name} is {spec['parameterType']}, and {kind} is declared{_hint(loop, name)}"
        if not is_optional and _may_be_null(compiled, task.dag, name):
            yield "null-input", f"{name} is null where nobody names a value, and null is not taken here"
    elif "taskOutputParameter" in source:
        output = source["taskOutputParameter"]
        producer, key = output["producerTask"], output["outputParameterKey"]
        made_by = compiled.tasks_of(task.dag).get(producer)
        if made_by is None:
            yield "unknown-source", f"there is no task {producer} in {task.dag}"
            return
        given = output_type(made_by, key)
        if given is None:
            yield "unknown-source", f"the task {producer} has no output {key}"
        elif not source.get("parameterExpressionSelector") and not fits(given, kind):
            yield "type", f"{producer}.{key} is {given}, and {kind} is declared"
    elif "runtimeValue" in source:
        if "constant" not in source["runtimeValue"]:
            yield "type", "only constants are known to the driver as runtime values"
        elif not fits(type_of(source["runtimeValue"]["constant"]), kind):
            yield "type", f"the constant is {type_of(source['runtimeValue']['constant'])}, and {kind} is declared"
    elif "taskFinalStatus" in source:
        if kind not in (FINAL_STATUS, "STRUCT"):
            yield "type", f"the final status is a STRUCT, and {kind} is declared"
    else:
        yield "unknown-source", f"the driver knows no source like {sorted(source)}"


def _may_be_null(compiled: Compiled, dag: str, name: str) -> bool:
    """Whether a DAG's parameter is optional, has no default, and is left out by a run or a task that uses it."""
    spec = declared(compiled.components[dag])[name]
    if not spec.get("isOptional") or spec.get("defaultValue") is not None:
        return False
    users = [task for task in compiled.tasks() if task.spec["componentRef"]["name"] == dag]
    return dag == ROOT or any(name not in user.parameters for user in users)


def _hint(loop: Task | None, name: str) -> str:
    is_item = loop is not None and loop.iterator is not None and loop.iterator["itemInput"] == name
    return "; a loop over `list` has items of type STRING, one over `list[dict]` of STRUCT" if is_item else ""


def _dag_outputs(compiled: Compiled) -> Iterator[Fault]:
    """The outputs of DAGs come from tasks in them, and are of their types."""
    iterated = {task.spec["componentRef"]["name"] for task in compiled.tasks() if task.iterator is not None}
    for name in compiled.reachable():
        component = compiled.components[name]
        tasks = compiled.tasks_of(name)
        for key, source in component.get("dag", {}).get("outputs", {}).get("parameters", {}).items():
            selectors = source.get("valueFromOneof", {}).get("parameterSelectors") or [source.get("valueFromParameter")]
            kind = declared(component, "outputDefinitions").get(key, {}).get("parameterType", UNKNOWN)
            for selector in filter(None, selectors):
                producer = tasks.get(selector["producerSubtask"])
                given = None if producer is None else output_type(producer, selector["outputParameterKey"])
                where = f"{name}.{key}"
                if given is None:
                    yield Fault("unknown-source", where, f"no output {selector['outputParameterKey']} in its tasks")
                # a loop declares the list that it makes, and its single iteration returns one item of it
                elif not fits(given, kind) and not (name in iterated and kind == "LIST"):
                    yield Fault("type", where, f"{selector['producerSubtask']} returns {given}, and {kind} is declared")


def loop_items(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """A loop goes over a list, and its items, where they are known, are of the type that its tasks see."""
    for task in compiled.tasks():
        if task.iterator is None:
            continue
        item = declared(task.component).get(task.iterator["itemInput"], {}).get("parameterType", UNKNOWN)
        items = task.iterator["items"]
        if "raw" in items:
            values = json.loads(items["raw"])
            given = "LIST" if isinstance(values, list) else type_of(values)
        else:
            spec = declared(task.component).get(items["inputParameter"])
            if spec is None or items["inputParameter"] not in task.parameters:
                yield Fault("unknown-source", task.where, f"it is not given the list {items['inputParameter']}")
                continue
            given = spec.get("parameterType", UNKNOWN)
            source = task.parameters[items["inputParameter"]].get("componentInputParameter")
            values = declared(compiled.components[task.dag]).get(source, {}).get("defaultValue")
        if given not in ("LIST", "STRING", UNKNOWN):
            yield Fault("type", task.where, f"it loops over a {given}")
        for index, value in enumerate(values if isinstance(values, list) else []):
            if not fits(type_of(value), item):
                yield Fault("type", task.where, f"item {index} is {type_of(value)}, and its tasks see {item}")
                break
