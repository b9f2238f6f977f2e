"""What the Kubeflow Pipelines UI gets of an evaluation: plain numbers that its JSON can hold, and a readable matrix."""

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, struct_pb2
from kfp import dsl
from sklearn import metrics as reference

from slipway.components.evaluate import typed_metrics
from slipway.components.evaluate.confusion import MOST_CLASSES, readable
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.learning.scores import MOST_POINTS, RocCurve, roc_curve, score
from slipway.components.step_runtime import scalar_metrics
from tests.components import step_results


def result(classes: int, roc: RocCurve | None = None) -> EvaluateResult:
    chance = np.random.default_rng(classes)
    truth, predicted = chance.integers(0, classes, (2, 4000))
    predicted = np.where(chance.random(4000) < 0.8, truth, predicted)
    labels = [f"topic {number}" for number in range(classes)]
    scores = score(truth, predicted, chance.uniform(0.5, 1, 4000), labels)
    found = step_results.evaluate(labels) | {"labels": labels, "difference": None, "roc": roc}
    found["challenger"] = asdict(scores) | {"typos": {"macro_f1": 0.8, "accuracy": 0.8, "drop": math.nan}}
    return EvaluateResult.model_validate(found)


def as_the_launcher_reads(metadata: dict[str, Any]) -> dict[str, Any]:
    read = struct_pb2.Struct()
    json_format.Parse(json.dumps(metadata, allow_nan=False), read)
    found: dict[str, Any] = json_format.MessageToDict(read)
    return found


@pytest.mark.parametrize("texts", [12, 40, 5000])
def test_the_roc_curve_is_that_of_scikit_learn_thinned(texts: int) -> None:
    chance = np.random.default_rng(texts)
    positive = chance.random(texts) < 0.3
    probability = np.clip(chance.normal(0.4 + 0.2 * positive, 0.2), 0, 1)
    found = roc_curve(positive, probability, "spam")
    assert found is not None
    false, true, thresholds = reference.roc_curve(positive, probability)
    assert found.auc == pytest.approx(reference.roc_auc_score(positive, probability))
    assert len(found.threshold) <= MOST_POINTS
    points = list(zip(found.false_positive_rate, found.true_positive_rate, found.threshold, strict=True))
    assert set(points[1:]) <= set(zip(false.tolist(), true.tolist(), thresholds.tolist(), strict=True))
    assert points[0][:2] == (0, 0)
    assert points[-1][:2] == (1, 1)
    assert abs(reference.auc(found.false_positive_rate, found.true_positive_rate) - found.auc) < 0.005
    assert all(math.isfinite(value) for point in points for value in point)
    assert found.threshold[0] > probability.max()


def test_a_perfect_model_keeps_its_corner() -> None:
    found = roc_curve(np.arange(500) >= 250, np.linspace(0, 0.9, 500), "spam")
    assert found is not None
    assert (0.0, 1.0) in zip(found.false_positive_rate, found.true_positive_rate, strict=True)
    assert found.auc == 1


@pytest.mark.parametrize("positive", [True, False])
def test_texts_of_one_class_have_no_curve(positive: bool) -> None:
    assert roc_curve(np.full(5, positive), np.linspace(0, 1, 5), "spam") is None


def test_a_small_matrix_is_left_as_it_is() -> None:
    assert readable(["a", "b"], [[3, 1, 0], [2, 4, 9]]) == (["a", "b"], [[3, 1], [2, 4]])


def test_of_many_classes_the_most_confused_stay_and_the_total_is_kept() -> None:
    labels, counts = [f"topic {number}" for number in range(150)], np.diag(np.full(150, 9))
    counts[7, 140], counts[3, 4] = 5, 4
    shown, folded = readable(labels, counts.tolist())
    assert len(shown) == len(folded) == len(folded[0]) == MOST_CLASSES
    assert {"topic 3", "topic 4", "topic 7", "topic 140"} <= set(shown)
    assert shown == [*sorted(shown[:-1], key=labels.index), "(127 other classes)"]
    assert folded[shown.index("topic 7")][shown.index("topic 140")] == 5
    assert np.sum(folded) == counts.sum()
    assert folded[-1][-1] == 127 * 9


def test_the_name_of_the_others_is_no_class() -> None:
    labels = ["(27 other classes)", *(f"topic {number}" for number in range(49))]
    shown, _ = readable(labels, np.eye(50, dtype=int).tolist())
    assert len(set(shown)) == MOST_CLASSES


@pytest.mark.parametrize("classes", [2, 24, 77, 150])
def test_the_metadata_are_small_plain_json(classes: int) -> None:
    artifact, logged = dsl.ClassificationMetrics(), result(classes)
    typed_metrics.log_classification(artifact, logged)
    matrix = as_the_launcher_reads(artifact.metadata)["confusionMatrix"]
    assert len(matrix["annotationSpecs"]) == len(matrix["rows"]) == min(classes, MOST_CLASSES)
    assert sum(sum(row["row"]) for row in matrix["rows"]) == 4000
    assert len(json.dumps(artifact.metadata)) < 10_000
    assert "confidenceMetrics" not in artifact.metadata


def test_two_classes_have_a_curve_beside_the_matrix() -> None:
    chance = np.random.default_rng(0)
    curve = roc_curve(chance.random(3000) < 0.5, chance.random(3000), "spam")
    assert curve is not None
    artifact, scalars = dsl.ClassificationMetrics(), dsl.Metrics()
    typed_metrics.log_classification(artifact, result(2, curve))
    typed_metrics.log_scalars(scalars, result(2, curve))
    read = as_the_launcher_reads(artifact.metadata)
    assert len(read["confusionMatrix"]["rows"]) == 2
    assert 50 < len(read["confidenceMetrics"]) <= MOST_POINTS
    assert as_the_launcher_reads(scalars.metadata)["roc_auc"] == pytest.approx(curve.auc)


def test_scalars_have_names_without_the_split_and_none_that_json_cannot_hold() -> None:
    metrics = dsl.Metrics()
    typed_metrics.log_scalars(metrics, result(3))
    assert set(as_the_launcher_reads(metrics.metadata)) == {"accuracy", "macro_f1", "calibration_error", "split"}
    assert metrics.metadata["split"] == "test"


def test_values_become_plain_floats() -> None:
    metrics = dsl.Metrics()
    values: dict[str, Any] = {"a": np.float32(0.5), "b": math.inf, "c": None, "d": 3}
    scalar_metrics.log(metrics, values)
    assert metrics.metadata == {"a": 0.5, "d": 3.0}
    assert type(metrics.metadata["a"]) is float


def test_without_a_value_there_is_no_split() -> None:
    metrics = dsl.Metrics()
    scalar_metrics.log(metrics, {}, "cross-validation")
    assert metrics.metadata == {}
