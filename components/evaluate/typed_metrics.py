"""Metrics artifacts of an evaluation for the Kubeflow Pipelines UI: scalars, confusion matrix, and ROC curve of two
classes.

The UI shows matrix and curve of one ClassificationMetrics artifact one below the other, and in its comparison of runs.
"""

from typing import Protocol

from slipway.components.evaluate.confusion import readable
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.step_runtime import scalar_metrics


class ClassificationArtifact(Protocol):
    """The part of `kfp.dsl.ClassificationMetrics` that is used."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None: ...

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None: ...


def log_scalars(metrics: scalar_metrics.MetricsArtifact, result: EvaluateResult) -> None:
    """Log the challenger's scores on the test split, and its difference from the champion if there is one."""
    challenger, difference, roc = result.challenger, result.difference, result.roc
    values = {
        "accuracy": challenger.accuracy,
        "macro_f1": challenger.macro_f1,
        "calibration_error": challenger.calibration_error,
        "typo_drop": challenger.typos.drop,
        "macro_f1_difference": difference.macro_f1.value if difference else None,
        "drop_from_best": result.best.drop if result.best else None,
        "roc_auc": roc.auc if roc else None,
    }
    scalar_metrics.log(metrics, values, "test")


def log_classification(confusion: ClassificationArtifact, result: EvaluateResult) -> None:
    """Log the challenger's confusion matrix (of many classes, the most confused ones), and its ROC curve for two."""
    confusion.log_confusion_matrix(*readable(result.labels, result.challenger.confusion))
    if roc := result.roc:
        confusion.log_roc_curve(roc.false_positive_rate, roc.true_positive_rate, roc.threshold)
