"""The temperature of a delivered model: fitted so that its confidence is honest, and written into its graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.components.artifacts.onnx_classifier import open_session, softmax
from slipway.components.compress.temperature import BOUNDS, divide, fitted
from slipway.components.learning.scores import Floats, Indices, calibration, calibration_by_chance


def drawn(texts: int, temperature: float, classes: int = 5) -> tuple[Floats, Indices]:
    """Logits, and classes that were drawn with the probabilities of the logits at a temperature."""
    generator = np.random.default_rng(texts)
    logits = generator.normal(0, 4, (texts, classes)).astype(np.float32)
    chances = softmax(logits / np.float32(temperature)).cumsum(axis=1)
    return logits, (generator.random((texts, 1)) < chances).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_which_the_classes_were_drawn(temperature: float) -> None:
    logits, truth = drawn(8000, temperature)
    found = fitted(logits, truth)
    assert found == pytest.approx(temperature, rel=0.05)
    confidence, right = softmax(logits / np.float32(found)).max(axis=1), logits.argmax(axis=1) == truth
    assert calibration(confidence, right)[0] < 2 * calibration_by_chance(confidence)


@pytest.mark.parametrize("texts", [10, 100])
def test_a_split_without_a_mistake_makes_nobody_certain(texts: int) -> None:
    truth = np.arange(texts) % 3
    logits = np.eye(3, dtype=np.float32)[truth] * 3
    confidence = softmax(logits / fitted(logits, truth)).max()
    assert 1 - 1 / texts < confidence < 1 - 0.5 / texts


@pytest.mark.parametrize(("sign", "bound"), [(1, BOUNDS[0]), (-1, BOUNDS[1])])
def test_the_temperature_stays_within_its_bounds(sign: int, bound: float) -> None:
    truth = np.arange(3000) % 3
    assert fitted(np.eye(3, dtype=np.float32)[truth] * 0.1 * sign, truth) == bound


def test_logits_that_are_no_numbers_are_left_to_the_gate() -> None:
    assert fitted(np.full((4, 2), np.nan, dtype=np.float32), np.array([0, 1, 0, 1])) == 1


def test_the_division_is_part_of_the_model_and_its_metadata_tell_it(tmp_path: Path) -> None:
    path, shape = tmp_path / "model.onnx", ("texts", 3)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    sides = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "logits")]
    nodes = [helper.make_node("Relu", ["x"], ["logits"]), helper.make_node("Neg", ["logits"], ["unused"])]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    divide(path, 2.0)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = open_session(path.read_bytes())
    found = session.run(["logits"], {"x": np.array([[1, -1, 4]], dtype=np.float32)})[0]
    assert found.tolist() == [[0.5, 0, 2]]
    assert session.get_modelmeta().custom_metadata_map == {"temperature": "2.0"}


@pytest.mark.parametrize("texts", [50, 1000])
def test_the_error_by_chance_is_the_mean_error_of_calibrated_models(texts: int) -> None:
    generator = np.random.default_rng(4)
    confidence = generator.uniform(0.3, 1, texts)
    errors = [calibration(confidence, generator.random(texts) < confidence)[0] for _ in range(300)]
    assert calibration_by_chance(confidence) == pytest.approx(np.mean(errors), rel=0.06)
    assert calibration_by_chance(np.array([])) == 0
