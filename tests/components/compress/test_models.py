"""Students, pruning, export and int8 of the architectures that are supported, and the refusal of others."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from components.checkpoint import load_checkpoint
from components.compress import architecture, export
from components.compress.distil import distil, distillation_loss, new_student, student_layers
from components.compress.lessons import Lessons
from components.compress.prune import Importance, cut, importance
from components.compress.quantise import quantise_dynamically
from components.compress.settings import CompressSettings
from components.dataset import TextDataset
from components.errors import BadInput, SlipwayError
from components.train.batches import EncodedTexts

SIZES = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=66),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=48),
}


def classifier(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(3)
    config.num_labels = 3
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.fixture(scope="module")
def teacher(tiny_checkpoint: Path) -> PreTrainedModel:
    return load_checkpoint(tiny_checkpoint)[0]


@pytest.fixture(scope="module")
def texts(tiny_checkpoint: Path, small_dataset: TextDataset) -> EncodedTexts:
    tokenizer = load_checkpoint(tiny_checkpoint)[1]
    return EncodedTexts(small_dataset.texts("train"), small_dataset.label_ids("train"), tokenizer, 32)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shallower_and_pruned_model_is_exported_faithfully(name: str, tmp_path: Path) -> None:
    model = classifier(CONFIGS[name])
    student = new_student(model, [0, 2])
    found = [Importance(torch.rand(4), torch.rand(48)) for _ in range(2)]
    cut(student, found, heads_kept=0.5, neurons_kept=0.25)
    assert [layer.query.weight.shape for layer in architecture.layers(student)] == [(16, 32)] * 2
    assert [layer.contraction.weight.shape for layer in architecture.layers(student)] == [(32, 12)] * 2
    heads = architecture.heads_and_width(student)
    assert heads == (2, 16)
    exported = export.export(student, tmp_path / "model.onnx", 48, heads)
    assert exported.difference <= export.TOLERANCE
    quantise_dynamically(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    samples = export.sample_inputs(student, 48)
    with torch.inference_mode():
        wanted = [export.LogitsOnly(student)(*map(torch.from_numpy, sample)).numpy() for sample in samples]
    assert export.greatest_difference(tmp_path / "int8.onnx", samples, wanted) < 0.1


def test_attention_of_a_pruned_bert_is_fused_and_its_matrices_are_smaller(tmp_path: Path) -> None:
    model = classifier(CONFIGS["bert"])
    export.export(model, tmp_path / "whole.onnx", 48, architecture.heads_and_width(model))
    cut(model, [Importance(torch.rand(4), torch.rand(48))] * 3, heads_kept=0.5, neurons_kept=0.5)
    exported = export.export(model, tmp_path / "pruned.onnx", 48, architecture.heads_and_width(model))
    assert exported.fused
    graph = onnx.load(tmp_path / "pruned.onnx").graph
    assert sum(node.op_type == "Attention" for node in graph.node) == 3
    weights = {name: _weights(tmp_path / f"{name}.onnx") for name in ("whole", "pruned")}
    removed = 3 * (4 * 32 * 16 + 2 * 32 * 24)  # of query, key, value and output; of both feed-forward matrices
    assert weights["whole"] - weights["pruned"] == removed


def _weights(path: Path) -> int:
    """How many numbers the matrices have."""
    tensors = onnx.load(path).graph.initializer
    return sum(int(np.prod(tensor.dims)) for tensor in tensors if tensor.data_type == 1 and len(tensor.dims) > 1)


def test_an_export_that_differs_from_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(CONFIGS["bert"])
    trace = export.trace

    def trace_of_another(model: PreTrainedModel, *others: object) -> None:
        other = copy.deepcopy(model)
        other.classifier.bias.data += 0.01
        trace(other, *others)

    monkeypatch.setattr(export, "trace", trace_of_another)
    with pytest.raises(SlipwayError, match="does not give torch's logits"):
        export.export(model, tmp_path / "model.onnx", 48, (4, 32))


def test_a_fused_graph_that_differs_is_dropped_for_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fuse_wrongly(_: Path, fused: Path, *__: object) -> None:
        other = classifier(CONFIGS["bert"])
        other.classifier.bias.data += 0.01
        export.trace(other, fused, export.sample_inputs(other, 48)[2])

    monkeypatch.setattr(export, "_fuse", fuse_wrongly)
    exported = export.export(classifier(CONFIGS["bert"]), tmp_path / "model.onnx", 48, (4, 32))
    assert not exported.fused
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_int8_has_whole_number_weights_and_embeddings(draft_bundle: Path, tmp_path: Path) -> None:
    quantise_dynamically(draft_bundle / "model.onnx", tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    floats = [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    assert not floats
    assert onnxruntime.InferenceSession(tmp_path / "int8.onnx").get_inputs()[0].shape == ["texts", "tokens"]


def test_an_unknown_architecture_is_refused_with_the_supported_ones() -> None:
    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    )
    with pytest.raises(BadInput, match=r"modernbert encoder .* bert, camembert, distilbert, electra, roberta"):
        architecture.check_supported(classifier(config))


@pytest.mark.parametrize(
    ("layers", "share", "kept"),
    [(6, 0.5, [1, 3, 5]), (12, 0.25, [3, 7, 11]), (6, 0.01, [5]), (2, 1.0, [0, 1]), (5, 0.6, [0, 2, 4])],
)
def test_a_student_has_evenly_spread_layers_of_the_teacher(layers: int, share: float, kept: list[int]) -> None:
    assert student_layers(layers, share) == kept


def test_a_student_comes_closer_to_the_teacher_and_leaves_it_as_it_was(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    settings = CompressSettings(learning_rate=2e-3)
    before = copy.deepcopy(teacher.state_dict())
    student = new_student(teacher, [1])
    lessons = Lessons(teacher, [1], texts, tmp_path)
    losses: list[float] = []
    distil(student, lessons, settings, 3, lambda *event: losses.append(event[2]))
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_the_teachers_own_copy_has_nothing_to_learn(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    lessons = Lessons(teacher, [0, 1], texts, tmp_path)
    settings = CompressSettings(hard_label_share=0.0)
    loss = distillation_loss(teacher, lessons.lesson(np.arange(16)), settings)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-3)


def test_a_head_and_neurons_without_effect_are_the_first_to_go(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    model = copy.deepcopy(teacher)
    with torch.no_grad():
        for layer in architecture.layers(model):
            layer.attention_output.weight[:, 8:16] = 0  # the second head
            layer.contraction.weight[:, ::2] = 0
    settings = CompressSettings()
    lessons = Lessons(teacher, [0, 1], texts, tmp_path)
    found = importance(
        model, [lessons.lesson(np.arange(32))], lambda lesson: distillation_loss(model, lesson, settings)
    )
    assert all(int(layer.heads.argmin()) == 1 and float(layer.heads[1]) == 0 for layer in found)
    wanted = model(**texts.batch(np.arange(8)).inputs).logits
    cut(model, found, heads_kept=0.75, neurons_kept=0.5)
    given = model(**texts.batch(np.arange(8)).inputs).logits
    torch.testing.assert_close(given, wanted)


def test_the_importance_of_a_head_is_the_slope_of_the_loss_along_its_mask(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    settings, step = CompressSettings(), 1e-2
    lesson = Lessons(teacher, [0, 1], texts, tmp_path).lesson(np.arange(32))
    model = new_student(teacher, [0, 1])
    _shift(model)
    found = importance(model, [lesson], lambda one: distillation_loss(model, one, settings))

    def loss_with_mask(value: float) -> float:
        masked = copy.deepcopy(model)
        with torch.no_grad():
            architecture.layers(masked)[0].attention_output.weight[:, :8] *= value
            return float(distillation_loss(masked, lesson, settings))

    slope = (loss_with_mask(1 + step) - loss_with_mask(1 - step)) / (2 * step)
    assert float(found[0].heads[0]) == pytest.approx(abs(slope), rel=0.05)


def _shift(model: nn.Module) -> None:
    """Away from the teacher, where every slope is 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
