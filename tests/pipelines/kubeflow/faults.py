"""Faults to put into the small pipeline: for each, the rule that must name it, the place, and the change."""

from collections.abc import Callable
from typing import Any

from tests.pipelines.kubeflow.compiled import Compiled

Change = Callable[[Compiled], Any]


def _component(compiled: Compiled, name: str) -> Any:
    return compiled.components[f"comp-{name}"]


def _inputs(compiled: Compiled, name: str) -> Any:
    return _component(compiled, name)["inputDefinitions"]["parameters"]


def _task(compiled: Compiled, name: str) -> Any:
    return next(task.spec for task in compiled.tasks() if task.name == name)


def _given(compiled: Compiled, name: str) -> Any:
    return _task(compiled, name)["inputs"]["parameters"]


def _container(compiled: Compiled, name: str) -> Any:
    return compiled.executors[f"exec-{name}"]["container"]


def _loop_over_static(items: str) -> Change:
    def change(compiled: Compiled) -> None:
        loop = _task(compiled, "for-loop-1")
        loop["parameterIterator"]["items"] = {"raw": items}

    return change


FAULTS: dict[str, tuple[str, str, Change]] = {
    "a loop's item of another type": (
        "type",
        "comp-for-loop-1/compare.share",
        lambda c: _inputs(c, "for-loop-1")["pipelinechannel--shares-loop-item"].update(parameterType="STRING"),
    ),
    "a known item of another type": ("type", "comp-folds/for-loop-1", _loop_over_static('["one", "two"]')),
    "a constant of another type": (
        "type",
        "comp-exit-handler-1/prepare.settings",
        lambda c: _given(c, "prepare").update(settings={"runtimeValue": {"constant": "{}"}}),
    ),
    "an output of another type": (
        "type",
        "comp-exit-handler-1/train.settings",
        lambda c: _component(c, "preflight")["outputDefinitions"]["parameters"]["train"].update(parameterType="LIST"),
    ),
    "a parameter of another type": (
        "type",
        "exit-handler-1.pipelinechannel--model_name",
        lambda c: c.components["root"]["inputDefinitions"]["parameters"]["model_name"].update(
            parameterType="NUMBER_INTEGER", defaultValue=1
        ),
    ),
    "a list where one value is wanted": (
        "type",
        "comp-exit-handler-1/train.scores",
        lambda c: _inputs(c, "train")["scores"].update(parameterType="STRUCT"),
    ),
    "a default of another type": (
        "default-type",
        "root.settings",
        lambda c: c.components["root"]["inputDefinitions"]["parameters"]["settings"].update(defaultValue="{}"),
    ),
    "an input without a value": (
        "missing-input",
        "comp-exit-handler-1/train.settings",
        lambda c: _given(c, "train").pop("settings"),
    ),
    "an artifact without a source": (
        "missing-input",
        "comp-exit-handler-1/train.dataset",
        lambda c: _task(c, "train")["inputs"]["artifacts"].pop("dataset"),
    ),
    "an input that no component declares": (
        "undeclared-input",
        "comp-exit-handler-1/train.epochs",
        lambda c: _given(c, "train").update(epochs={"runtimeValue": {"constant": 3.0}}),
    ),
    "a null where a value is wanted": (
        "null-input",
        "report.model_name",
        lambda c: c.components["root"]["inputDefinitions"]["parameters"]["model_name"].pop("defaultValue"),
    ),
    "a null in a nested pipeline": (
        "null-input",
        "comp-for-loop-1/compare.version",
        lambda c: (
            _given(c, "for-loop-1").pop("pipelinechannel--version"),
            _inputs(c, "for-loop-1")["pipelinechannel--version"].update(isOptional=True),
        ),
    ),
    "an output that is not there": (
        "unknown-source",
        "comp-exit-handler-1/train.settings",
        lambda c: _component(c, "preflight")["outputDefinitions"]["parameters"].pop("train"),
    ),
    "a parameter that the DAG does not have": (
        "unknown-source",
        "comp-exit-handler-1/prepare.settings",
        lambda c: _inputs(c, "exit-handler-1").pop("pipelinechannel--settings"),
    ),
    "a loop's list in its own body": (
        "unknown-source",
        "comp-for-loop-1/compare.share",
        lambda c: (
            _given(c, "compare")["share"].update(componentInputParameter="pipelinechannel--shares"),
            _inputs(c, "for-loop-1").setdefault("pipelinechannel--shares", {"parameterType": "LIST"}),
            _task(c, "for-loop-1")["parameterIterator"]["items"].update(inputParameter="pipelinechannel--shares"),
            _given(c, "for-loop-1").setdefault("pipelinechannel--shares", {"componentInputParameter": "shares"}),
        ),
    ),
    "a task that waits for none": (
        "unknown-source",
        "comp-exit-handler-1/train",
        lambda c: _task(c, "train")["dependentTasks"].append("choose"),
    ),
    "an artifact of another kind": (
        "artifact-type",
        "comp-condition-2/deliver.model",
        lambda c: _component(c, "deliver")["inputDefinitions"]["artifacts"]["model"]["artifactType"].update(
            schemaTitle="system.Dataset"
        ),
    ),
    "a loop over nothing": ("zero-items", "comp-folds/for-loop-1", _loop_over_static("[]")),
    "an output of a task that may be skipped": (
        "conditional-output",
        "comp-exit-handler-1/train",
        lambda c: _task(c, "prepare").update(triggerPolicy={"condition": "inputs.parameter_values['version'] != ''"}),
    ),
    "a version in the environment": (
        "cache-environment",
        "comp-exit-handler-1/train",
        lambda c: _container(c, "train").update(env=[{"name": "SLIPWAY_CODE_VERSION", "value": "1"}]),
    ),
    "a cached step without a version": (
        "cache-version",
        "comp-exit-handler-1/prepare",
        lambda c: (_given(c, "prepare").pop("version"), _inputs(c, "prepare").pop("version")),
    ),
    "an empty version": (
        "cache-version",
        "comp-exit-handler-1/prepare.version",
        lambda c: _given(c, "prepare").update(version={"runtimeValue": {"constant": ""}}),
    ),
    "an artifact that is new in every run": (
        "cache-never-hits",
        "comp-exit-handler-1/train.dataset",
        lambda c: _task(c, "prepare").pop("cachingOptions"),
    ),
    "an exit task that needs an output": (
        "exit-task",
        "report.model_name",
        lambda c: _given(c, "report").update(
            model_name={"taskOutputParameter": {"producerTask": "exit-handler-1", "outputParameterKey": "name"}}
        ),
    ),
    "a cached exit task": (
        "exit-task",
        "report",
        lambda c: _task(c, "report").update(cachingOptions={"enableCache": True}),
    ),
    "a final status that is a constant": (
        "exit-task",
        "report.status",
        lambda c: _given(c, "report").update(status={"runtimeValue": {"constant": {}}}),
    ),
    "a final status for another task": (
        "exit-task",
        "comp-exit-handler-1/prepare",
        lambda c: _given(c, "prepare").update(settings={"taskFinalStatus": {"producerTask": "preflight"}}),
    ),
    "an unknown field of the platform": (
        "platform-spec",
        "exec-train",
        lambda c: c.kubernetes["exec-train"].update(initContainers=[{"name": "wait"}]),
    ),
    "an unknown field of a task": (
        "pipeline-spec",
        "pipeline spec",
        lambda c: _task(c, "train").update(priority=1),
    ),
    "a step without a container": (
        "pipeline-spec",
        "comp-train",
        lambda c: _component(c, "train").update(executorLabel="exec-training"),
    ),
    "two components with one container": (
        "shared-container",
        "comp-train",
        lambda c: c.executors["exec-train"].update(container=_container(c, "prepare")),
    ),
    "an argument of 200 KB": (
        "argument-size",
        "comp-exit-handler-1/prepare",
        lambda c: _given(c, "prepare").update(settings={"runtimeValue": {"constant": {"texts": "x" * 200_000}}}),
    ),
    "a default of 200 KB": (
        "argument-size",
        "root",
        lambda c: c.components["root"]["inputDefinitions"]["parameters"]["settings"].update(
            defaultValue={"texts": "x" * 200_000}
        ),
    ),
    "long descriptions": (
        "descriptions",
        "root",
        lambda c: c.components["root"]["inputDefinitions"]["parameters"]["settings"].update(description="x" * 2000),
    ),
    "a long source": (
        "source",
        "comp-train",
        lambda c: _container(c, "train").update(command=["sh", "-c", "# why\n" * 500]),
    ),
    "too large a Workflow": (
        "workflow-size",
        "run",
        lambda c: [
            _container(c, name).update(command=["# why\n" * 400] * 3) for name in ("prepare", "compare", "train")
        ],
    ),
}
