"""The Argo Workflow that the backend makes of a compiled pipeline: what stands in its `spec`.

A replay of backend/src/v2/compiler/argocompiler of kubeflow/pipelines 2.17.0 (argo.go, dag.go, container.go) for what
its size depends on: the arguments (component, container and Kubernetes definitions) and the tasks of the DAG templates.
The templates that are the same for every pipeline are counted at their size. Of the 146 Workflows in test_data of that
release, the arguments come out to the byte in 115 and within 1.2 % in the others, and 109 wholes within 3 %.
"""

import hashlib
from typing import Any

from tests.pipelines.kubeflow.compiled import Compiled, Task
from tests.pipelines.kubeflow.go_json import go_json

SYSTEM_TEMPLATES = 7500
"""Bytes of the four templates that every pipeline has: both drivers, executor and its pod [from compiled-workflows]."""
OBJECT = 3500
"""Bytes of labels, annotations, managed fields, security context and status beside the nodes [estimated]."""


class Workflow:
    """Arguments and templates of one pipeline's Workflow."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.arguments: dict[str, str] = {}
        self.templates: list[Any] = []
        for name in reversed(compiled.reachable()):
            component = compiled.components[name]
            self.arguments.setdefault(self.component_argument(name), go_json(component))
            if "executorLabel" not in component:
                self._dag(name)
                continue
            label = component["executorLabel"]
            implementation = compiled.executors[label].get("container", compiled.executors[label])
            argument = self.component_argument(name).replace("components-", "implementations-", 1)
            self.arguments.setdefault(argument, go_json(implementation))
            if label in compiled.kubernetes:
                self.arguments[f"kubernetes-{name}"] = go_json(compiled.kubernetes[label])

    def component_argument(self, name: str) -> str:
        """Name of the argument that holds a component: steps with the same container share one."""
        label = self.compiled.components[name].get("executorLabel")
        container = self.compiled.executors.get(label, {}).get("container") if label else None
        return f"components-{hashlib.sha256(go_json(container).encode()).hexdigest() if container else name}"

    def _dag(self, name: str) -> None:
        for task in self.compiled.tasks_of(name).values():
            if task.iterator is None:
                self.templates.append(self._dag_tasks(task))
            else:  # the task's definition stands in the template of the loop and in that of one iteration
                self.templates += [self._dag_tasks(task), self._dag_tasks(task)]
        self.templates.append({"name": name, "inputs": {"parameters": [{"name": "parent-dag-id"}]}, "dag": {}})

    def _dag_tasks(self, task: Task) -> Any:
        """The driver of a task and what it drives, in the template of the DAG."""
        component = self.component_argument(task.spec["componentRef"]["name"])
        parent = {"name": "parent-dag-id", "value": "{{inputs.parameters.parent-dag-id}}"}
        driver = {
            "name": f"{task.name}-driver",
            "template": "system-container-driver",
            "depends": " && ".join(f"{name}.Succeeded" for name in task.dependencies),
            "arguments": {
                "parameters": [
                    {"name": "component", "value": f"{{{{workflow.parameters.{component}}}}}"},
                    {"name": "task", "value": go_json(task.spec)},
                    {"name": "container", "value": f"{{{{workflow.parameters.{component}}}}}"},
                    {"name": "task-name", "value": task.name},
                    parent,
                ]
            },
        }
        executor = {
            "name": task.name,
            "template": "system-container-executor",
            "depends": f"{task.name}-driver.Succeeded",
            "arguments": {
                "parameters": [
                    {
                        "name": "pod-spec-patch",
                        "value": f"{{{{tasks.{task.name}-driver.outputs.parameters.pod-spec-patch}}}}",
                    },
                    {
                        "name": "cached-decision",
                        "default": "false",
                        "value": f"{{{{tasks.{task.name}-driver.outputs.parameters.cached-decision}}}}",
                    },
                ]
            },
        }
        return [driver, executor]

    def size(self) -> int:
        """Bytes of the object before a node has run."""
        arguments = [{"name": name, "value": value} for name, value in self.arguments.items()]
        return len(go_json([arguments, self.templates]).encode()) + SYSTEM_TEMPLATES + OBJECT
