"""Makes bundles that are good, or bad in one way each, out of a good one; also used to show what a rollout does.

All but the tampered one are signed properly: what is wrong with them only shows in traffic.
"""

import shutil
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import CARD, MODEL, SIGNATURE, TOKENIZER, Bundle, updated_info, write_info
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.signing_kms import KmsSigningKey


def signed_copy(bundle: Path, folder: Path, private_key: Path | KmsSigningKey, note: str = "") -> Path:
    """The same bundle, signed; `note` becomes its variant, so that two copies differ in bytes and digest."""
    _copy(bundle, folder)
    if note:
        write_info(folder, updated_info(Bundle(folder).info, variant=note))
    return _signed(folder, private_key)


def renamed(bundle: Path, folder: Path, private_key: Path | KmsSigningKey, model_name: str) -> Path:
    """The same bundle, signed as one of another model."""
    _copy(bundle, folder)
    write_info(folder, updated_info(Bundle(folder).info, model_name=model_name))
    return _signed(folder, private_key)


def shuffled_labels(bundle: Path, folder: Path, private_key: Path | KmsSigningKey) -> Path:
    """Every label is called by the name of the next one."""
    _copy(bundle, folder)
    labels = Bundle(folder).info.labels
    write_info(folder, updated_info(Bundle(folder).info, labels=labels[1:] + labels[:1]))
    return _signed(folder, private_key)


def slow(bundle: Path, folder: Path, private_key: Path | KmsSigningKey, milliseconds: float = 120.0) -> Path:
    """Every inference computes something useless for about `milliseconds` of one core of this machine."""
    _copy(bundle, folder)
    original, rounds = onnx.load(folder / MODEL), 50
    onnx.save(_with_useless_loop(original, rounds), folder / MODEL)
    rounds = max(round(rounds * milliseconds / _inference_ms(folder)), 1)
    onnx.save(_with_useless_loop(original, rounds), folder / MODEL)
    return _signed(folder, private_key)


def raising(bundle: Path, folder: Path, private_key: Path | KmsSigningKey, word: str) -> Path:
    """Inference fails on texts with `word`: the model then reads beyond the end of a tensor."""
    _copy(bundle, folder)
    model = onnx.load(folder / MODEL)
    token = Tokenizer.from_file(str(folder / TOKENIZER)).encode(word, add_special_tokens=False).ids[0]
    graph = model.graph
    logits = _renamed_output(graph)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(token, np.int64), "bad_token"),
            numpy_helper.from_array(np.zeros(1, np.float32), "one_value"),
            numpy_helper.from_array(np.array(7, np.int64), "far_away"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Equal", ["input_ids", "bad_token"], ["is_bad"]),
            helper.make_node("Cast", ["is_bad"], ["is_bad_number"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["is_bad_number"], ["any_bad"], keepdims=0),
            helper.make_node("Mul", ["any_bad", "far_away"], ["place"]),
            helper.make_node("Gather", ["one_value", "place"], ["nothing"]),
            helper.make_node("Add", [logits, "nothing"], ["logits"]),
        ]
    )
    onnx.save(model, folder / MODEL)
    return _signed(folder, private_key)


def tampered(bundle: Path, folder: Path, private_key: Path | KmsSigningKey) -> Path:
    """Signed, and then one byte of the model was changed."""
    signed_copy(bundle, folder, private_key)
    content = bytearray((folder / MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / MODEL).write_bytes(content)
    return folder


def _copy(bundle: Path, folder: Path) -> None:
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    (folder / SIGNATURE).unlink(missing_ok=True)
    if not (folder / CARD).exists():
        (folder / CARD).write_text("A bundle for tests.\n", "utf-8")


def _signed(folder: Path, private_key: Path | KmsSigningKey) -> Path:
    signing.sign(folder, private_key)
    return folder


def _inference_ms(folder: Path) -> float:
    classifier = Classifier(folder, threads=1)
    classifier.logits(["hello"])
    start = time.perf_counter()
    for _ in range(5):
        classifier.logits(["hello"])
    return (time.perf_counter() - start) / 5 * 1000


def _renamed_output(graph: onnx.GraphProto) -> str:
    """Call what the nodes make `old_logits`, so that a new last node makes `logits`."""
    for node in graph.node:
        for names in (node.output, node.input):
            for index, name in enumerate(names):
                if name == "logits":
                    names[index] = "old_logits"
    return "old_logits"


def _with_useless_loop(original: onnx.ModelProto, rounds: int) -> onnx.ModelProto:
    """The model with a loop of matrix products whose result, always zero, is added to the logits."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph, size = model.graph, 256
    logits = _renamed_output(graph)
    values = {"rounds": np.array(rounds, np.int64), "yes": np.array(True), "square": np.full((size, size), 1e-3)}
    values |= {"zero": np.array(0.0), "first": np.array([0], np.int64)}
    for name, value in values.items():
        array = value.astype(np.float32) if value.dtype == np.float64 else value
        graph.initializer.append(numpy_helper.from_array(array, name))
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "square"], ["next_state"]),
            helper.make_node("Identity", ["again"], ["still"]),
        ],
        "rounds",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [size, size]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [size, size]),
        ],
    )
    graph.node.extend(
        [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),  # so that nothing is precomputed
            helper.make_node("ReduceMax", ["ids"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["square", "largest"], ["begin"]),
            helper.make_node("Loop", ["rounds", "yes", "begin"], ["end"], body=body),
            helper.make_node("ReduceMax", ["end"], ["useless"], keepdims=0),
            helper.make_node("Mul", ["useless", "zero"], ["nothing"]),
            helper.make_node("Add", [logits, "nothing"], ["logits"]),
        ]
    )
    return model
