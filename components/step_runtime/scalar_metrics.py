"""Scalar metrics of a step for the Kubeflow Pipelines UI, under the same names in every step.

The UI's comparison of runs has a row for each name and a column for each step's artifact. So the `accuracy` of
training, compression and evaluation are in one row. `split` names the texts that they were measured on.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol


class MetricsArtifact(Protocol):
    """The part of `kfp.dsl.Metrics` that is used."""

    metadata: dict[str, Any]

    def log_metric(self, metric: str, value: float) -> None: ...


def log(metrics: MetricsArtifact, values: Mapping[str, float | None], split: str = "") -> None:
    """Log numbers, and the split that they were measured on.

    A value that is missing or not finite is left out. The launcher reads the values as JSON, which has no NaN or
    infinity, and such a value would make it fail the step.
    """
    finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
    for name, value in finite.items():
        metrics.log_metric(name, value)
    if finite and split:
        metrics.metadata["split"] = split
