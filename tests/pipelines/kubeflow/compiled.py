"""A compiled pipeline as the backend of Kubeflow Pipelines reads it: its two documents and their tasks."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml
from kfp import compiler

ROOT = "root"
EXIT_STRATEGY = "ALL_UPSTREAM_TASKS_COMPLETED"
JSON = dict[str, Any]


class Fault(NamedTuple):
    """One thing that the backend would refuse, or do otherwise than meant."""

    rule: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.message}"


class Task(NamedTuple):
    """One task of one DAG; a component that several tasks use has its own tasks once."""

    dag: str
    """Name of the component whose DAG holds the task."""
    name: str
    spec: JSON
    component: JSON

    @property
    def where(self) -> str:
        return self.name if self.dag == ROOT else f"{self.dag}/{self.name}"

    @property
    def parameters(self) -> JSON:
        return dict(self.spec.get("inputs", {}).get("parameters", {}))

    @property
    def artifacts(self) -> JSON:
        return dict(self.spec.get("inputs", {}).get("artifacts", {}))

    @property
    def dependencies(self) -> list[str]:
        return list(self.spec.get("dependentTasks", []))

    @property
    def iterator(self) -> JSON | None:
        return self.spec.get("parameterIterator")

    @property
    def is_dag(self) -> bool:
        return "dag" in self.component

    @property
    def is_exit(self) -> bool:
        return bool(self.spec.get("triggerPolicy", {}).get("strategy") == EXIT_STRATEGY)

    @property
    def condition(self) -> str:
        return str(self.spec.get("triggerPolicy", {}).get("condition", ""))

    @property
    def is_cached(self) -> bool:
        """Whether the driver may take the outcome from an earlier run [driver/cache.go]; it asks this of steps only."""
        return not self.is_dag and bool(self.spec.get("cachingOptions", {}).get("enableCache"))


class Compiled:
    """The two documents of a compiled pipeline.

    Args:
        spec: the pipeline spec, as in the YAML.
        platform: the platform spec; empty where nothing of Kubernetes is asked for.
    """

    def __init__(self, spec: JSON, platform: JSON | None = None) -> None:
        self.spec = spec
        self.platform = platform or {}
        self.components: dict[str, JSON] = {ROOT: spec["root"], **spec.get("components", {})}
        self.executors: dict[str, JSON] = spec.get("deploymentSpec", {}).get("executors", {})
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {})
        self.kubernetes: dict[str, JSON] = kubernetes.get("deploymentSpec", {}).get("executors", {})

    @property
    def name(self) -> str:
        return str(self.spec["pipelineInfo"]["name"])

    def copy(self) -> "Compiled":
        """One that can be changed without changing this one."""
        return Compiled(copy.deepcopy(self.spec), copy.deepcopy(self.platform))

    def tasks_of(self, component: str) -> dict[str, Task]:
        """The tasks of a DAG by their names.

        Raises:
            KeyError: a task names a component that is not there.
        """
        specs = self.components[component].get("dag", {}).get("tasks", {})
        return {
            name: Task(component, name, spec, self.components[spec["componentRef"]["name"]])
            for name, spec in specs.items()
        }

    def reachable(self) -> list[str]:
        """Names of the components that a run uses, root first."""
        found = [ROOT]
        for name in found:
            for task in self.components[name].get("dag", {}).get("tasks", {}).values():
                if task["componentRef"]["name"] not in found:
                    found.append(task["componentRef"]["name"])
        return found

    def tasks(self) -> Iterator[Task]:
        """All tasks of all DAGs that a run uses."""
        for name in self.reachable():
            yield from self.tasks_of(name).values()

    def container(self, component: JSON) -> JSON:
        """Image, command, arguments and environment of a step."""
        return dict(self.executors[component["executorLabel"]]["container"])


def load(path: Path) -> Compiled:
    """Read what kfp's compiler wrote.

    Raises:
        ValueError: no document is a pipeline spec.
    """
    documents = [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document]
    specs = [document for document in documents if "pipelineInfo" in document]
    if len(specs) != 1:
        raise ValueError(f"{path} holds {len(specs)} pipeline specs; compile one pipeline into it")
    platforms = [document for document in documents if "platforms" in document]
    return Compiled(specs[0], platforms[0] if platforms else None)


def compile_pipeline(pipeline: Callable[..., Any], **options: Any) -> Compiled:
    """Compile a pipeline function as `slipway submit` does, by way of YAML."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path), **options)
        return load(path)
