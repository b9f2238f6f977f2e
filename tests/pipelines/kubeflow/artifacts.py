"""Artifacts along every edge: that they exist and are of the kinds that their consumers declare.

The driver only asks whether a source is there (`resolveInputArtifact` in driver/resolve.go of 2.17.0), and does not
compare schema titles; kfp's compiler does, so that a mismatch here means a YAML that was made otherwise.
"""

from collections.abc import Iterator

from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, Compiled, Fault, Task

ANY = "system.Artifact"


def declared_artifacts(component: JSON, side: str = "inputDefinitions") -> JSON:
    """Artifacts of a component with their definitions."""
    return dict(component.get(side, {}).get("artifacts", {}))


def _title(spec: JSON) -> str:
    return str(spec.get("artifactType", {}).get("schemaTitle", ""))


def _source(compiled: Compiled, task: Task, source: JSON) -> tuple[JSON | None, bool, str]:
    """Definition of what a task is given, whether it is a list of them, and words for it."""
    if "componentInputArtifact" in source:
        name = source["componentInputArtifact"]
        spec = declared_artifacts(compiled.components[task.dag]).get(name)
        return spec, bool(spec and spec.get("isArtifactList")), f"the artifact {name} of the DAG {task.dag}"
    output = source.get("taskOutputArtifact", {})
    producer, key = output.get("producerTask", ""), output.get("outputArtifactKey", "")
    made_by = compiled.tasks_of(task.dag).get(producer)
    spec = None if made_by is None else declared_artifacts(made_by.component, "outputDefinitions").get(key)
    is_list = made_by is not None and made_by.iterator is not None or bool(spec and spec.get("isArtifactList"))
    return spec, is_list, f"the output {key} of the task {producer}"


def artifact_edges(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """Every artifact that a task needs is given, exists, and is of the declared kind."""
    for task in compiled.tasks():
        definitions = declared_artifacts(task.component)
        for key, spec in definitions.items():
            if key not in task.artifacts and not spec.get("isOptional"):
                yield Fault("missing-input", f"{task.where}.{key}", "no artifact is given")
        for key, source in task.artifacts.items():
            spec, is_list, words = _source(compiled, task, source)
            where = f"{task.where}.{key}"
            if spec is None:
                yield Fault("unknown-source", where, f"there is no such thing as {words}")
                continue
            wanted = definitions.get(key)
            if wanted is None:
                yield Fault("undeclared-input", where, "the component does not declare it")
            elif _title(wanted) not in (ANY, _title(spec)):
                yield Fault("artifact-type", where, f"{words} is a {_title(spec)}, and {_title(wanted)} is declared")
            elif is_list and not wanted.get("isArtifactList"):
                yield Fault("artifact-type", where, f"{words} is a list of artifacts, and one is declared")


def dependencies(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """The tasks that a task waits for are in its DAG: Argo refuses the others (`addImplicitDependencies` in dag.go)."""
    for task in compiled.tasks():
        for name in task.dependencies:
            if name not in compiled.tasks_of(task.dag):
                yield Fault("unknown-source", task.where, f"it waits for {name}, which is not in {task.dag}")
