"""Students, pruning, export and int8 of the architectures that are supported, and the refusal of others."""

import copy
import platform
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
)

from slipway.components.artifacts.checkpoint import load_checkpoint, load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress import architecture, export, quantise, relations
from slipway.components.compress.augment import UNLABELLED, Augmenter
from slipway.components.compress.distil import distil, distillation_loss, new_student, student_layers
from slipway.components.compress.models import candidates
from slipway.components.compress.narrow import most_varied, narrow
from slipway.components.compress.prune import Importance, cut, importance, schedule
from slipway.components.compress.quantise import matrices, most_sensitive, quantise_dynamically, quantise_statically
from slipway.components.compress.search_state import SearchState, take_weights
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import LiveEpoch, StoredOutputs
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.learning.batches import EncodedTexts

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
POSITIONS: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "max_relative_positions": -1,
}
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=66),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(vocab_size=60, dim=32, n_layers=3, n_heads=4, hidden_dim=48),
}
OTHERS = {
    "modernbert": ModernBertConfig(
        **(SIZES | {"num_hidden_layers": 2}),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "deberta-v2": DebertaV2Config(**SIZES, **POSITIONS),
}


def classifier(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(3)
    config.num_labels = 3
    build: Callable[[PreTrainedConfig], PreTrainedModel] = AutoModelForSequenceClassification.from_config
    model = build(config)
    model.train(False)
    return model


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
    assert not any(node.op_type == "SkipLayerNormalization" for node in graph.node)
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

    def trace_of_another(model: PreTrainedModel, *others: Any) -> None:
        other = copy.deepcopy(model)
        other.get_parameter("classifier.bias").data += 0.01
        trace(other, *others)

    monkeypatch.setattr(export, "trace", trace_of_another)
    with pytest.raises(SlipwayError, match="does not give torch's logits"):
        export.export(model, tmp_path / "model.onnx", 48, (4, 32))


def test_a_fused_graph_that_differs_is_dropped_for_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fuse_wrongly(_: Path, fused: Path, *__: object) -> None:
        other = classifier(CONFIGS["bert"])
        other.get_parameter("classifier.bias").data += 0.01
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


@pytest.mark.parametrize("name", OTHERS)
def test_an_unknown_architecture_is_refused_with_the_supported_ones(name: str, tmp_path: Path) -> None:
    message = f"{name} encoder .* bert, camembert, distilbert, electra, roberta"
    with pytest.raises(BadInput, match=message):
        architecture.check_supported(classifier(OTHERS[name]))
    OTHERS[name].save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=message):
        architecture.check_encoder(str(tmp_path), CompressSettings(distil=False))
    architecture.check_encoder(str(tmp_path), CompressSettings(distil=False, prune=False))


@pytest.mark.parametrize("name", OTHERS)
def test_an_unknown_architecture_is_exported_faithfully_and_quantised(name: str, tmp_path: Path) -> None:
    model = classifier(OTHERS[name])
    assert export.export(model, tmp_path / "model.onnx", 48).difference <= export.TOLERANCE
    quantise_dynamically(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    samples = export.sample_inputs(model, 48)
    with torch.inference_mode():
        wanted = [export.LogitsOnly(model)(*map(torch.from_numpy, sample)).numpy() for sample in samples]
    assert export.greatest_difference(tmp_path / "int8.onnx", samples, wanted) < 0.1


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ("fpu avx2", "x86_64", True),
        ("avx2 avx_vnni", "x86_64", False),
        ("avx512f avx512_vnni", "x86_64", False),
        ("asimd", "aarch64", False),
        (None, "x86_64", False),
    ],
)
def test_weights_keep_to_seven_bits_where_sums_of_products_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None, machine: str, expected: bool
) -> None:
    if flags:
        (tmp_path / "cpuinfo").write_text(f"model name : a processor\nflags : {flags}\n")
    monkeypatch.setattr(quantise, "CPU", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert quantise.overflows.__wrapped__() is expected


@pytest.mark.parametrize("name", CONFIGS)
def test_a_narrower_student_is_exported_faithfully(name: str, tmp_path: Path) -> None:
    student = new_student(classifier(CONFIGS[name]), [1, 2])
    narrow(student, torch.arange(0, 32, 2))
    assert [layer.query.weight.shape for layer in architecture.layers(student)] == [(32, 16)] * 2
    heads = architecture.heads_and_width(student)
    assert heads == (4, 32)
    assert export.export(student, tmp_path / "model.onnx", 48, heads).difference <= export.TOLERANCE


def test_a_narrower_student_keeps_the_dimensions_that_vary_most() -> None:
    states = torch.randn(500, 2, 32) * torch.where(torch.arange(32) % 4 == 0, 5.0, 1.0)
    assert most_varied(states, 0.25).tolist() == list(range(0, 32, 4))


def test_weights_of_a_pruned_model_go_into_its_skeleton() -> None:
    model = classifier(CONFIGS["bert"])
    smaller = new_student(model, [0, 2])
    narrow(smaller, torch.arange(16))
    cut(smaller, [Importance(torch.rand(4), torch.rand(48))] * 2, heads_kept=0.5, neurons_kept=0.5)
    skeleton = new_student(model, [0, 2])
    take_weights(skeleton, smaller.state_dict())
    ids = torch.randint(0, 60, (2, 9))
    torch.testing.assert_close(skeleton(ids).logits, smaller(ids).logits)
    assert architecture.heads_and_width(skeleton) == architecture.heads_and_width(smaller)


def test_the_schedule_cuts_much_at_first_and_ends_at_what_is_asked_for() -> None:
    shares = schedule(0.4, 3)
    assert shares[-1] == pytest.approx(0.4)
    cuts = -np.diff([1.0, *shares])
    assert cuts[0] > cuts[1] > cuts[2] > 0
    assert schedule(0.5, 1) == [0.5]


def test_relations_of_the_same_vectors_are_no_distance_apart_whatever_the_padding() -> None:
    vectors = [torch.randn(2, 5, 24) for _ in range(3)]
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    padded = [part.masked_fill(mask[..., None] == 0, 7.0) for part in vectors]
    assert float(relations.distance(vectors, padded, mask, 12)) == pytest.approx(0.0, abs=1e-6)
    narrower = [part[..., :16] for part in vectors]
    assert float(relations.distance(vectors, narrower, mask, 12)) > 0.01


def test_made_texts_are_new_and_the_same_for_the_same_epoch(teacher: PreTrainedModel, texts: EncodedTexts) -> None:
    tokenizer = AutoTokenizer.from_pretrained(teacher.name_or_path)
    augmenter = Augmenter(texts, tokenizer, teacher, seed=1)
    made, again, other = (augmenter.texts_of(epoch, 50) for epoch in (0, 0, 1))
    assert made.token_ids == again.token_ids != other.token_ids
    known = {tuple(ids) for ids in texts.token_ids}
    assert np.mean([tuple(ids) in known for ids in made.token_ids]) < 0.5
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(ids[0] == begin and ids[-1] == end and begin not in ids[1:] for ids in made.token_ids)
    assert int(made.lengths.max()) <= int(texts.lengths.max())
    assert set(made.label_ids) == {UNLABELLED}


def test_made_texts_begin_and_end_as_texts_do_whatever_the_first_one_is(
    teacher: PreTrainedModel, texts: EncodedTexts
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(teacher.name_or_path)
    unknown = EncodedTexts.of_ids(
        [tokenizer("\u4e01").input_ids, *texts.token_ids], np.zeros(len(texts) + 1, np.int64), texts.padding_id
    )
    made = Augmenter(unknown, tokenizer, teacher, seed=1).texts_of(0, 50)
    begin, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(ids[0] == begin and ids[-1] == end for ids in made.token_ids)
    assert np.mean([ids[1] == tokenizer.unk_token_id for ids in made.token_ids]) < 0.5


def test_texts_without_a_label_teach_by_the_teachers_answers_alone(
    teacher: PreTrainedModel, texts: EncodedTexts
) -> None:
    unlabelled = EncodedTexts.of_ids(texts.token_ids[:8], np.full(8, UNLABELLED), texts.padding_id)
    lesson = LiveEpoch(teacher, [0, 1], unlabelled).batch_of(np.arange(8))
    loss = distillation_loss(teacher, lesson, CompressSettings(hard_label_share=0.5))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-3)


def test_the_matrix_that_int8_hurts_most_stays_in_floating_point(draft_bundle: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    feeds = [{"input_ids": generator.integers(5, 60, (4, 9)), "attention_mask": np.ones((4, 9), dtype=np.int64)}]
    source = draft_bundle / "model.onnx"
    names = matrices(source)
    worst = most_sensitive(source, feeds, 2, tmp_path / "scratch.onnx")
    assert len(worst) == 2
    assert set(worst) < set(names)
    quantise_dynamically(source, tmp_path / "int8.onnx", worst)
    left = {node.name for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert set(worst) <= left


def test_static_int8_has_fixed_scales_and_no_matrices_in_floating_point(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    heads = architecture.heads_and_width(teacher)
    export.export(teacher, tmp_path / "plain.onnx", 32, heads, fuse_attention=False)
    parts = [np.arange(start, start + 8) for start in range(0, 64, 8)]
    feeds = [{name: value.numpy() for name, value in texts.batch(part).inputs.items()} for part in parts]
    quantise_statically(tmp_path / "plain.onnx", tmp_path / "static.onnx", feeds)
    graph = onnx.load(tmp_path / "static.onnx").graph
    assert not [node for node in graph.node if node.op_type == "DynamicQuantizeLinear"]
    assert not [t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    session = onnxruntime.InferenceSession(tmp_path / "static.onnx")
    given = np.concatenate([session.run(["logits"], feed)[0] for feed in feeds])
    with torch.inference_mode():
        wanted = np.concatenate([teacher(**texts.batch(part).inputs).logits.numpy() for part in parts])
    assert np.mean(given.argmax(axis=1) == wanted.argmax(axis=1)) > 0.9


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
    outputs = StoredOutputs(teacher, [1], texts, tmp_path)
    losses: list[float] = []
    distil(student, outputs, settings, 3, lambda *event: losses.append(event[2]))
    assert np.mean(losses[-4:]) < 0.5 * losses[0]
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_outputs_that_would_fill_the_disk_are_computed_anew(
    teacher: PreTrainedModel, texts: EncodedTexts, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    wanted = 2 * int(texts.lengths.sum()) * 32  # one layer of 32 dimensions in half precision
    for most, stored in ((wanted / 1e9, True), (wanted / 1e9 * 0.99, False)):
        folder = tmp_path / str(stored)
        search = SearchState(folder)
        settings = CompressSettings(stored_outputs_gb=most, give_up=False, prune=False)
        found = candidates(teacher, load_tokenizer(tiny_checkpoint), texts, settings, search)
        assert [candidate.name for candidate in islice(found, 2)] == ["teacher-2x32", "student-1x32"]
        files = [path.stat().st_size for path in folder.glob("states.*")]
        assert files == ([wanted] if stored else [])


def test_a_spent_budget_ends_the_questions_to_the_teacher(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    asked = iter([False, True])
    outputs = StoredOutputs(teacher, [1], texts, tmp_path, lambda: next(asked))
    assert int((outputs.logits.abs().sum(dim=1) > 0).sum()) == 30, "one batch of 120 texts in four"


def test_the_teachers_own_copy_has_nothing_to_learn(
    teacher: PreTrainedModel, texts: EncodedTexts, tmp_path: Path
) -> None:
    outputs = StoredOutputs(teacher, [0, 1], texts, tmp_path)
    settings = CompressSettings(hard_label_share=0.0)
    loss = distillation_loss(teacher, outputs.batch_of(np.arange(16)), settings)
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
    outputs = StoredOutputs(teacher, [0, 1], texts, tmp_path)
    found = importance(
        model, [outputs.batch_of(np.arange(32))], lambda lesson: distillation_loss(model, lesson, settings)
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
    lesson = StoredOutputs(teacher, [0, 1], texts, tmp_path).batch_of(np.arange(32))
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
            parameter.add_(0.05 * torch.randn_like(parameter))
