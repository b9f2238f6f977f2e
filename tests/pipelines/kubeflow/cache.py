"""The cache of the backend: the key of a task, and what must and must not be in it.

The key has the values of parameters, the numbers of input artifacts, the declared outputs, command and arguments,
image and names of mounted volume claims [cacheutils/cache.go and driver/cache.go of kubeflow/pipelines 2.17.0]. It has
no environment variables: kubeflow/pipelines#14339.
"""

import hashlib
from collections.abc import Iterator, Mapping

from tests.pipelines.kubeflow.artifacts import declared_artifacts
from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import JSON, ROOT, Compiled, Fault, Task
from tests.pipelines.kubeflow.go_json import go_json
from tests.pipelines.kubeflow.parameter_types import declared


def fingerprint(compiled: Compiled, task: Task, values: JSON, artifacts: Mapping[str, str] | None = None) -> str:
    """The name under which the outcome of a task is found again, beside the pipeline's name and the namespace.

    Args:
        compiled: the pipeline.
        task: a step of it.
        values: of the task's parameters.
        artifacts: number of each input artifact in the metadata store; a new one for each that is made anew.
    """
    container = compiled.container(task.component)
    claims = compiled.kubernetes.get(task.component["executorLabel"], {}).get("pvcMount", [])
    key = {
        "inputArtifactNames": {
            name: {"artifactNames": [(artifacts or {}).get(name, "1")]} for name in declared_artifacts(task.component)
        },
        "inputParameterValues": values,
        "outputArtifactsSpec": {
            name: {"name": name, "type": spec.get("artifactType")}
            for name, spec in declared_artifacts(task.component, "outputDefinitions").items()
        },
        "outputParametersSpec": {
            name: spec.get("parameterType") for name, spec in declared(task.component, "outputDefinitions").items()
        },
        "containerSpec": {
            "image": container["image"],
            "cmdArgs": [*container.get("command", []), *container.get("args", [])],
            "pvcNames": sorted({str(claim.get("constant", claim)) for claim in claims}),
        },
    }
    return hashlib.sha256(go_json(key).encode()).hexdigest()


def no_environment(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """No variable with a value of its own on a cached step: a change of it changes nothing."""
    for task in compiled.tasks():
        if not task.is_cached:
            continue
        for variable in compiled.container(task.component).get("env", []):
            if variable["name"] not in assumptions.harmless_variables:
                yield Fault(
                    "cache-environment", task.where, f"{variable['name']} is not in the cache's key: make it an input"
                )


def code_version(compiled: Compiled, assumptions: Assumptions) -> Iterator[Fault]:
    """Every cached step has an input that names the version of its code, with a value in every run."""
    names = assumptions.version_inputs
    for task in compiled.tasks():
        if not task.is_cached or not names:
            continue
        given = [key for key in names if key in task.parameters and key in declared(task.component)]
        if not given:
            yield Fault("cache-version", task.where, f"it is cached, and has no input {' or '.join(names)}")
        for key in given:
            if not _has_value(compiled, task, key):
                yield Fault("cache-version", f"{task.where}.{key}", "its value is empty in a default run")


def _has_value(compiled: Compiled, task: Task, key: str) -> bool:
    source = task.parameters.get(key)
    if source is None:
        return bool(declared(task.component).get(key, {}).get("defaultValue"))
    if "runtimeValue" in source:
        return bool(source["runtimeValue"].get("constant"))
    if "componentInputParameter" not in source:
        return True
    name = source["componentInputParameter"]
    if task.dag == ROOT:
        return bool(declared(compiled.components[ROOT]).get(name, {}).get("defaultValue"))
    users = [user for user in compiled.tasks() if user.spec["componentRef"]["name"] == task.dag]
    return all(_has_value(compiled, user, name) for user in users)


def cached_inputs(compiled: Compiled, _: Assumptions) -> Iterator[Fault]:
    """A cached step takes no artifact of a step that always runs: it has a new number each time."""
    for task in compiled.tasks():
        if not task.is_cached:
            continue
        for key in task.artifacts:
            for maker in _makers(compiled, task, key):
                if not maker.is_cached:
                    yield Fault("cache-never-hits", f"{task.where}.{key}", f"{maker.where} makes it anew in every run")


def _makers(compiled: Compiled, task: Task, key: str) -> list[Task]:
    source = task.artifacts.get(key, {})
    if "taskOutputArtifact" in source:
        made_by = source["taskOutputArtifact"]
        return _inside(compiled, compiled.tasks_of(task.dag)[made_by["producerTask"]], made_by["outputArtifactKey"])
    users = [user for user in compiled.tasks() if user.spec["componentRef"]["name"] == task.dag]
    return [maker for user in users for maker in _makers(compiled, user, source.get("componentInputArtifact", ""))]


def _inside(compiled: Compiled, task: Task, key: str) -> list[Task]:
    if not task.is_dag:
        return [task]
    inner = compiled.tasks_of(task.spec["componentRef"]["name"])
    selectors = task.component["dag"].get("outputs", {}).get("artifacts", {}).get(key, {}).get("artifactSelectors", [])
    return [
        maker
        for one in selectors
        for maker in _inside(compiled, inner[one["producerSubtask"]], one["outputArtifactKey"])
    ]
