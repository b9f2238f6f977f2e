"""What the rules take for granted about a pipeline: each entry is a promise that another test has to prove."""

from collections.abc import Collection
from dataclasses import dataclass, field

from tests.pipelines.kubeflow.values import Run


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes that a run must stay under."""

    argument: int = 128 * 1024
    """One argument of a driver or launcher, and all that a driver gets: Linux's MAX_ARG_STRLEN, which also holds the
    variable ARGO_TEMPLATE."""
    descriptions: int = 1500
    """Descriptions in one component. Each byte stands in about ten places of the Workflow object."""
    source: int = 2500
    """The source text of one step's component, likewise."""
    workflow: int = 400_000
    """The Workflow object at the end of a default run. Argo compresses it from 1 MiB on, and task_details freeze."""
    growth: int = 15_000
    """What one more fold adds to it; see `Assumptions.larger`."""


@dataclass(frozen=True)
class Assumptions:
    """What a test knows of the pipeline that it checks."""

    version_inputs: Collection[str] = ("version",)
    """Parameters that carry the version of a step's code; every cached step has one. Empty: no step needs one."""
    never_empty: Collection[str] = ()
    """Outputs that are lists of one item or more, as `task.output`, which loops go over."""
    harmless_variables: Collection[str] = ()
    """Environment variables of cached steps that do not change what the step returns."""
    run: Run = field(default_factory=Run)
    """The run whose values and sizes are checked."""
    larger: tuple[Run, int] | None = None
    """A run with more folds, and how many more; None measures growth by one more item of each loop."""
    limits: Limits = field(default_factory=Limits)
