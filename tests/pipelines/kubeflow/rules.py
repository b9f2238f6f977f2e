"""All rules of the backend of Kubeflow Pipelines 2.17.0 that a compiled pipeline can be held to without it.

faults = check(compile_pipeline(pipeline), Assumptions(never_empty={"preflight.items"}))
assert not faults, "\\n".join(map(str, faults))
"""

from collections.abc import Callable, Iterator

from tests.pipelines.kubeflow import argument_sizes, artifacts, cache, flow, parameter_types, schema
from tests.pipelines.kubeflow.assumptions import Assumptions
from tests.pipelines.kubeflow.compiled import Compiled, Fault

Rule = Callable[[Compiled, Assumptions], Iterator[Fault]]
SOUNDNESS: tuple[Rule, ...] = (schema.documents, schema.references)
"""Without these the others have nothing to look at."""
RULES: tuple[Rule, ...] = (
    schema.shared_containers,
    artifacts.dependencies,
    parameter_types.default_values,
    parameter_types.required_inputs,
    parameter_types.parameter_edges,
    parameter_types.loop_items,
    artifacts.artifact_edges,
    flow.one_of,
    flow.conditional_outputs,
    flow.loops_have_items,
    flow.exit_tasks,
    cache.no_environment,
    cache.code_version,
    cache.cached_inputs,
)
SIZES: tuple[Rule, ...] = (argument_sizes.arguments, argument_sizes.texts, argument_sizes.workflow)
"""These follow values through the run, and need sound edges."""


def check(compiled: Compiled, assumptions: Assumptions | None = None) -> list[Fault]:
    """Hold a compiled pipeline to every rule.

    Args:
        compiled: the pipeline.
        assumptions: what is promised of its steps; see `Assumptions`.

    Returns:
        What is wrong; empty where the backend would run it as it is meant.
    """
    assumptions = assumptions or Assumptions()
    faults: list[Fault] = []
    for rules in (SOUNDNESS, RULES, SIZES):
        faults += [fault for rule in rules for fault in rule(compiled, assumptions)]
        if any(fault.rule in ("pipeline-spec", "unknown-source") for fault in faults):
            break
    return faults
