"""The values that go along a pipeline's edges in one run, as the drivers find them, with assumed outputs of steps.

Source of each way: backend/src/v2/driver/resolve.go of kubeflow/pipelines 2.17.0.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.pipelines.kubeflow.compiled import JSON, Compiled, Task

STRUCT_SIZE = 500
TYPICAL: dict[str, Any] = {
    "STRING": "s3://mlpipeline/v2/artifacts/slipway/a-value",
    "NUMBER_INTEGER": 100,
    "NUMBER_DOUBLE": 0.123456,
    "BOOLEAN": True,
    "LIST": [],
    "STRUCT": {"value": "x" * STRUCT_SIZE},
}
"""What an output is taken to be where the caller names no value, by its type."""


@dataclass(frozen=True)
class Run:
    """What is known of a run before it starts.

    Args:
        parameters: of the run, where they differ from the defaults.
        outputs: what steps return, by `task.output` (the task's name in its DAG); others are taken from `TYPICAL`.
        items: number of items of each loop, whatever its value says; None takes it from the value.
        item: one item where the value of a loop has none.
        cached: names of steps whose outcome comes from the cache.
        skipped: names of tasks whose condition is false.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    items: int | None = None
    item: Any = field(default_factory=lambda: {"value": "x" * STRUCT_SIZE})
    cached: Collection[str] = ()
    skipped: Collection[str] = ()


def root_values(compiled: Compiled, run: Run) -> JSON:
    """Values of the run's parameters: what is given, else the default, else null [argocompiler/argo.go]."""
    declared = compiled.components["root"].get("inputDefinitions", {}).get("parameters", {})
    return {name: run.parameters.get(name, spec.get("defaultValue")) for name, spec in declared.items()}


def _output(compiled: Compiled, run: Run, task: Task, key: str) -> Any:
    if f"{task.name}.{key}" in run.outputs:
        return run.outputs[f"{task.name}.{key}"]
    declared = task.component.get("outputDefinitions", {}).get("parameters", {}).get(key, {})
    if task.is_dag:
        source = task.component["dag"].get("outputs", {}).get("parameters", {}).get(key, {})
        single = source.get("valueFromParameter") or source["valueFromOneof"]["parameterSelectors"][0]
        inner = compiled.tasks_of(task.spec["componentRef"]["name"])[single["producerSubtask"]]
        value = _output(compiled, run, inner, single["outputParameterKey"])
        return [value] * max(run.items or 1, 1) if task.iterator else value
    return TYPICAL.get(declared.get("parameterType", "STRING"), "")


def resolve(compiled: Compiled, run: Run, task: Task, parent: Mapping[str, Any]) -> JSON:
    """Values of a task's parameters.

    Args:
        compiled: the pipeline.
        run: what is assumed.
        task: whose inputs are asked for.
        parent: values of the DAG that the task is in.
    """
    siblings = compiled.tasks_of(task.dag)
    values: JSON = {}
    for name, source in task.parameters.items():
        if "componentInputParameter" in source:
            value = parent.get(source["componentInputParameter"])
        elif "taskOutputParameter" in source:
            producer = source["taskOutputParameter"]
            value = _output(compiled, run, siblings[producer["producerTask"]], producer["outputParameterKey"])
        elif "taskFinalStatus" in source:
            value = {
                "state": "COMPLETE",
                "pipelineJobResourceName": "slipway-xxxxx",
                "pipelineTaskName": "deliver",
                "error": {},
            }
        else:
            value = source.get("runtimeValue", {}).get("constant")
        if value is not None:
            values[name] = value
    if task.is_dag:
        for name, spec in task.component.get("inputDefinitions", {}).get("parameters", {}).items():
            if name not in task.parameters and spec.get("isOptional"):
                values[name] = spec.get("defaultValue")
    return values


def items_of(task: Task, values: JSON, run: Run) -> list[Any]:
    """The items that a loop goes over: [] of a task without a loop."""
    iterator = task.iterator
    if iterator is None:
        return []
    source = iterator["items"]
    value = values.get(source["inputParameter"]) if "inputParameter" in source else json.loads(source["raw"])
    known = value if isinstance(value, list) else []
    if run.items is None:
        return list(known) or [run.item]
    return [(known or [run.item])[index % max(len(known), 1)] for index in range(run.items)]
