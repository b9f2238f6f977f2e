"""The task graph of a compiled pipeline as text, with the pods that a run makes of it.

python -m tests.pipelines.kubeflow.graph pipeline.yaml --items 6
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tests.pipelines.kubeflow.compiled import ROOT, Compiled, Task, load
from tests.pipelines.kubeflow.values import Run
from tests.pipelines.kubeflow.workflow_size import workflow_size


def _words(task: Task) -> str:
    words = []
    if task.iterator is not None:
        limit = task.spec.get("iteratorPolicy", {}).get("parallelismLimit")
        words.append(f"loop, {limit} at a time" if limit else "loop")
    elif task.is_dag:
        words.append("DAG")
    else:
        words.append("cached" if task.is_cached else "always runs")
    if task.condition:
        words.append(f"if {' '.join(task.condition.split())}".replace("inputs.parameter_values", ""))
    if task.is_exit:
        words.append("at the end, whatever happened")
    return ", ".join(words)


def _lines(compiled: Compiled, dag: str, indent: str) -> Iterator[str]:
    tasks = sorted(_in_order(compiled.tasks_of(dag)), key=lambda task: task.is_exit)
    for index, task in enumerate(tasks):
        last = index == len(tasks) - 1
        shown = task.spec.get("taskInfo", {}).get("name", task.name)
        name = task.name if shown == task.name else f"{task.name} ({shown})"
        yield f"{indent}{'└─' if last else '├─'} {name}: {_words(task)}"
        if task.is_dag:
            yield from _lines(compiled, task.spec["componentRef"]["name"], indent + ("   " if last else "│  "))


def _in_order(tasks: dict[str, Task]) -> Iterator[Task]:
    """Tasks after those that they wait for."""
    waiting = dict(tasks)
    while waiting:
        ready = [name for name, task in waiting.items() if not waiting.keys() & set(task.dependencies)]
        for name in ready or list(waiting):
            yield waiting.pop(name)


def graph(compiled: Compiled, run: Run | None = None) -> str:
    """Draw a pipeline as a tree of DAGs and steps, and count what a run makes of it.

    Args:
        compiled: the pipeline.
        run: the run whose pods and nodes are counted.
    """
    run = run or Run()
    tasks = list(compiled.tasks())
    steps, dags = sum(not task.is_dag for task in tasks), sum(task.is_dag for task in tasks)
    report = workflow_size(compiled, run)
    cached = sum(task.is_cached for task in tasks)
    items = "the items of its lists" if run.items is None else f"{run.items} items in each loop"
    return "\n".join(
        [
            f"{compiled.name}: {steps} steps ({cached} cached), {dags} DAGs below the root",
            *_lines(compiled, ROOT, ""),
            f"A run with {items}: {report.pods} pods, {len(report.nodes)} nodes, "
            f"{report.total_bytes / 1000:.0f} KB of Workflow object",
        ]
    )


def main() -> None:
    """Draw the pipeline of a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="what kfp's compiler wrote")
    parser.add_argument("--items", type=int, help="items in each loop, in place of those of its list")
    options = parser.parse_args()
    print(graph(load(options.file), Run(items=options.items)))


if __name__ == "__main__":
    main()
