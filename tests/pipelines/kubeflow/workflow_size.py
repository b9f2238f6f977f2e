"""How large the Workflow object of a run grows, node by node.

Argo keeps the state of a run in the Workflow object: each node holds its inputs and outputs, and here most nodes stand
twice, since the `templateDefaults.retryStrategy` of KFP's manifests (third-party/argo/base) makes a node of type Retry
above each (`executeTemplate` and `initializeExecutableNode` in workflow/controller/operator.go of Argo 4.0.5). From
1 MiB of JSON on Argo compresses the nodes (workflow/packer/packer.go), and then the API server of KFP reads none.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.pipelines.kubeflow.compiled import JSON, ROOT, Compiled, Task
from tests.pipelines.kubeflow.go_json import go_json
from tests.pipelines.kubeflow.pod_patch import pod_spec_patch
from tests.pipelines.kubeflow.values import Run, items_of, resolve, root_values
from tests.pipelines.kubeflow.workflow import Workflow

COMPRESSED_FROM = 1024 * 1024
"""Bytes of a Workflow's JSON from which Argo compresses its nodes, unless MAX_WORKFLOW_SIZE says otherwise."""
BARE = 500
"""Bytes of a node that holds nothing [estimated]."""
RUN = "slipway-6b5q9"
WHEN = "2026-11-26T18:59:29Z"


@dataclass(frozen=True)
class Node:
    """One node of the Workflow's status."""

    name: str
    kind: str
    """Pod, DAG, Retry, TaskGroup or Skipped."""
    task: str
    """The task of the pipeline that it belongs to, by its DAG and name."""
    size: int
    """Bytes of its JSON."""
    parts: dict[str, int] = field(default_factory=dict)
    """Bytes of each input and output."""


@dataclass(frozen=True)
class SizeReport:
    """How large a run's Workflow object is at its end, and of what."""

    fixed: int
    """Bytes of the spec: arguments, templates, labels."""
    nodes: tuple[Node, ...]

    @property
    def total_bytes(self) -> int:
        return self.fixed + sum(node.size for node in self.nodes)

    @property
    def pods(self) -> int:
        return sum(node.kind == "Pod" for node in self.nodes)

    def by_task(self) -> dict[str, int]:
        """Bytes of all nodes of each task, largest first."""
        sizes: Counter[str] = Counter()
        for node in self.nodes:
            sizes[node.task] += node.size
        return dict(sizes.most_common())

    def by_part(self) -> dict[str, int]:
        """Bytes by what is held: `pod-spec-patch`, `component`, `task`, …; `node` is what every node has."""
        sizes: Counter[str] = Counter({"spec": self.fixed})
        for node in self.nodes:
            sizes["node"] += node.size - sum(node.parts.values())
            sizes.update(node.parts)
        return dict(sizes.most_common())


class _Replay:
    """Walks a run and collects the nodes that Argo makes."""

    def __init__(self, compiled: Compiled, run: Run) -> None:
        self.compiled = compiled
        self.run = run
        self.workflow = Workflow(compiled)
        self.nodes: list[Node] = []

    def add(self, name: str, kind: str, template: str, task: str, inputs: JSON, outputs: JSON) -> str:
        """One template that is run: its Retry node and what it retries.

        Args:
            name: of the node, with those of its parents.
            kind: Pod or DAG.
            template: of the Workflow.
            task: that it belongs to.
            inputs: values of its parameters.
            outputs: likewise; a Retry node repeats those of its last try.

        Returns:
            name of the inner node, below which its own nodes stand.
        """
        for retry in (True, False):
            node: JSON = {
                "id": f"{RUN}-1234567890",
                "name": name if retry else f"{name}(0)",
                "displayName": name.rpartition(".")[2] + ("" if retry else "(0)"),
                "type": "Retry" if retry else kind,
                "templateName": template,
                "templateScope": f"local/{RUN}",
                "phase": "Succeeded",
                "boundaryID": f"{RUN}-1234567890",
                "startedAt": WHEN,
                "finishedAt": WHEN,
                "progress": "1/1",
                "resourcesDuration": {"cpu": 1, "memory": 20},
                "children": [f"{RUN}-1234567890"],
            }
            held = [{"name": key, "value": value} for key, value in inputs.items()]
            if held:
                node["inputs"] = {"parameters": held}
            if kind == "Pod":
                node["outputs"] = _pod_outputs(template, outputs)
            if not retry:
                node["nodeFlag"] = {"retried": True}
                if kind == "Pod":
                    node |= {"hostNodeName": "kind-control-plane", "taskResultSynced": True}
                else:
                    node["outboundNodes"] = [f"{RUN}-1234567890"]
            parts = {key: len(go_json(value).encode()) for key, value in (inputs | outputs).items()}
            for key in inputs.keys() & outputs.keys():
                parts[key] += len(go_json(inputs[key]).encode())
            size = len(go_json({node["id"]: node}).encode())
            self.nodes.append(Node(node["name"], node["type"], task, size, parts))
        return f"{name}(0)"

    def dag(self, component: str, path: str, values: JSON) -> None:
        """All nodes below that of a DAG's template."""
        for task in self.compiled.tasks_of(component).values():
            given = resolve(self.compiled, self.run, task, values)
            if task.iterator is not None:
                self.loop(task, path, given)
            elif task.is_exit:
                name = f"{path}.{task.dependencies[0]}.onExit"
                hook = self.add(name, "DAG", f"exit-hook-{component}-{task.name}", task.where, _parent(), {})
                self.task(task, hook, task.name, given)
            else:
                self.task(task, path, task.name, given)

    def loop(self, task: Task, path: str, values: JSON) -> None:
        """A loop: its own driver, and for each item a DAG that holds the driver and the DAG of the iteration."""
        component = task.spec["componentRef"]["name"]
        loop = self.add(f"{path}.{task.name}", "DAG", f"{component}-{task.name}-iterator", task.where, _parent(), {})
        self.driver(task, f"{loop}.iteration-driver", {})
        items = items_of(task, values, self.run)
        assert task.iterator is not None
        self.nodes.append(Node(f"{loop}.iteration-iterations", "TaskGroup", task.where, BARE))
        for index, item in enumerate(items):
            inputs = {**_parent(), "iteration-index": str(index)}
            name = f"{loop}.iteration-iterations({index}:{index})"
            inner = self.add(name, "DAG", f"{component}-iteration", task.where, inputs, {})
            given = {key: value for key, value in values.items() if key != task.iterator["items"].get("inputParameter")}
            given[task.iterator["itemInput"]] = item
            self.task(task, inner, "iteration-item", given, {"iteration-index": str(index)})

    def skip(self, name: str, task: Task) -> None:
        """A task that does not run: one node without inputs."""
        self.nodes.append(Node(name, "Skipped", task.where, BARE))

    def driver(self, task: Task, name: str, more: JSON) -> None:
        """The driver of a DAG."""
        inputs = {
            "component": self.component(task),
            "runtime-config": "",
            "task": go_json(task.spec),
            "task-name": task.name,
            "iteration-index": "-1",
            "driver-type": "DAG",
            **_parent(),
            **more,
        }
        outputs = {"execution-id": "1234", "iteration-count": "0", "condition": "nil"}
        self.add(name, "Pod", "system-dag-driver", task.where, inputs, outputs)

    def component(self, task: Task) -> str:
        return self.workflow.arguments[self.workflow.component_argument(task.spec["componentRef"]["name"])]

    def task(self, task: Task, path: str, name: str, values: JSON, more: JSON | None = None) -> None:
        """A task: its driver, then a DAG, or the DAG of its executor with the executor in it."""
        component = task.spec["componentRef"]["name"]
        is_skipped = bool(task.condition) and task.name in self.run.skipped
        if task.is_dag:
            self.driver(task, f"{path}.{name}-driver", more or {})
            if is_skipped:
                self.skip(f"{path}.{name}", task)
                return
            inner = self.add(f"{path}.{name}", "DAG", component, task.where, _parent(), {})
            self.dag(component, inner, values)
            return
        label = task.component["executorLabel"]
        container, kubernetes = self.compiled.container(task.component), self.compiled.kubernetes.get(label, {})
        is_cached = task.name in self.run.cached
        patch = ""
        if not is_cached and not is_skipped:
            patch = pod_spec_patch(self.compiled.name, task.name, task.component, container, kubernetes, values)
        inputs = {
            "component": self.component(task),
            "task": go_json(task.spec),
            "container": go_json(container),
            "task-name": task.name,
            "iteration-index": "-1",
            "kubernetes-config": go_json(kubernetes) if kubernetes else "",
            **_parent(),
            **(more or {}),
        }
        given = {"pod-spec-patch": patch, "cached-decision": str(is_cached).lower()}
        outputs = {**given, "condition": "nil"}
        self.add(f"{path}.{name}-driver", "Pod", "system-container-driver", task.where, inputs, outputs)
        if is_skipped:
            self.skip(f"{path}.{name}", task)
            return
        executor = self.add(f"{path}.{name}", "DAG", "system-container-executor", task.where, given, {})
        if is_cached:
            self.skip(f"{executor}.executor", task)
            return
        self.add(f"{executor}.executor", "Pod", "system-container-impl", task.where, {"pod-spec-patch": patch}, {})


def _parent() -> JSON:
    return {"parent-dag-id": "1234"}


def _pod_outputs(template: str, values: JSON) -> JSON:
    key = f"private-artifacts/kubeflow/{RUN}/2026/11/26/{RUN}-{template}-1234567890/main.log"
    outputs: JSON = {"artifacts": [{"name": "main-logs", "s3": {"key": key}}], "exitCode": "0"}
    if values:
        outputs["parameters"] = [
            {"name": name, "value": value, "valueFrom": {"path": f"/tmp/outputs/{name}", "default": ""}}
            for name, value in values.items()
        ]
    return outputs


def workflow_size(compiled: Compiled, run: Run | None = None) -> SizeReport:
    """Estimate the Workflow object at the end of a run that ends well.

    Args:
        compiled: the pipeline.
        run: its parameters, what its steps return, the number of items of its loops, and what the cache or a condition
            skips; by default nothing is skipped.
    """
    run = run or Run()
    replay = _Replay(compiled, run)
    values = root_values(compiled, run)
    entry = replay.add(RUN, "DAG", "entrypoint", ROOT, {}, {})
    inputs = {
        "component": replay.workflow.arguments["components-root"],
        "runtime-config": go_json({"parameterValues": values}),
        "task": "",
        "task-name": "",
        "iteration-index": "-1",
        "driver-type": "ROOT_DAG",
        "parent-dag-id": "0",
    }
    outputs = {"execution-id": "1234", "iteration-count": "0", "condition": "nil"}
    replay.add(f"{entry}.root-driver", "Pod", "system-dag-driver", ROOT, inputs, outputs)
    root = replay.add(f"{entry}.root", "DAG", ROOT, ROOT, _parent(), {})
    replay.dag(ROOT, root, values)
    return SizeReport(replay.workflow.size(), tuple(replay.nodes))


def growth(compiled: Compiled, run: Run | None = None) -> int:
    """Bytes that one more item of each loop adds."""
    run = run or Run()
    few, many = (workflow_size(compiled, replace(run, items=items)).total_bytes for items in (2, 12))
    return (many - few) // 10


def largest(report: SizeReport, count: int = 10) -> Iterator[str]:
    """Lines that name the largest nodes and what makes them large."""
    for node in sorted(report.nodes, key=lambda node: -node.size)[:count]:
        parts = sorted(node.parts.items(), key=lambda part: -part[1])[:3]
        yield f"{node.size:7} {node.kind:5} {node.name.partition('.')[2]}: {', '.join(f'{k} {v}' for k, v in parts)}"
