"""Scalar metrics of a step for the Kubeflow Pipelines UI, under the same names in every step.

The comparison of runs has a row for each name and a column for each step's artifact, so `accuracy` of training,
compression and evaluation stand beside each other; `split` says on which texts.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol


class MetricsArtifact(Protocol):
    """The part of `kfp.dsl.Metrics` that is used."""

    metadata: dict[str, Any]

    def log_metric(self, metric: str, value: float) -> None: ...


def log(metrics: MetricsArtifact, values: Mapping[str, float | None], split: str = "") -> None:
    """Log numbers, and the split they were measured on.

    A value that is missing or not finite is left out: the launcher reads JSON, which has no NaN or infinity, and would
    fail the step.
    """
    finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
    for name, value in finite.items():
        metrics.log_metric(name, value)
    if finite and split:
        metrics.metadata["split"] = split
