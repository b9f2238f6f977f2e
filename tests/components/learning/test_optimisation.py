"""The model to be trained, its optimiser, its learning rate and its scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import (
    AlbertConfig,
    AlbertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.errors import BadInput
from slipway.components.learning.evaluation import macro_f1
from slipway.components.learning.optimisation import (
    build_model,
    build_optimizer,
    layer_depths,
    parameter_count,
    schedule_factor,
)
from slipway.components.learning.settings import TrainSettings

LABELS = ["billing", "delivery", "account"]
BERT_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    "roberta": lambda words: RobertaModel(
        RobertaConfig(**BERT_SIZES, vocab_size=words, max_position_embeddings=40, pad_token_id=0)
    ),
    "distilbert": lambda words: DistilBertModel(
        DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=words)
    ),
    "modernbert": lambda words: ModernBertModel(
        ModernBertConfig(**BERT_SIZES, vocab_size=words, pad_token_id=0, cls_token_id=2, sep_token_id=3)
    ),
    "albert": lambda words: AlbertModel(AlbertConfig(**BERT_SIZES, vocab_size=words, embedding_size=16)),
    "gpt2": lambda words: GPT2Model(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=words)),
}


def settings(encoder: Path, **changes: object) -> TrainSettings:
    return TrainSettings.model_validate({"encoder": str(encoder), "max_length": 32} | changes)


def test_the_same_seed_gives_the_same_head_and_another_seed_another(tiny_encoder: Path) -> None:
    first, again, other = (build_model(settings(tiny_encoder, seed=seed), LABELS) for seed in (1, 1, 2))
    heads = [model.get_parameter("classifier.weight") for model in (first, again, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert first.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_of_other_families_can_be_trained(family: str, tiny_encoder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(tmp_path)
    FAMILIES[family](len(tokenizer)).save_pretrained(tmp_path)
    model = build_model(settings(tmp_path), LABELS)
    ids = torch.randint(5, 10, (4, 9))
    ids[0, 4:] = model.config.pad_token_id
    logits = model(input_ids=ids, attention_mask=(ids != model.config.pad_token_id).long()).logits
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_a_greater_length_than_the_encoder_takes_is_refused(tiny_encoder: Path) -> None:
    with pytest.raises(BadInput, match="cannot classify texts of 100 tokens"):
        build_model(settings(tiny_encoder, max_length=100), LABELS)


def test_layers_keeps_the_first_ones(tiny_encoder: Path) -> None:
    whole, half = (build_model(settings(tiny_encoder, layers=layers), LABELS) for layers in (0, 1))
    layers = half.base_model.get_submodule("encoder.layer")
    assert half.config.num_hidden_layers == len(list(layers.children())) == 1
    weights = [model.base_model.get_parameter("encoder.layer.0.output.dense.weight") for model in (half, whole)]
    assert torch.equal(*weights)
    assert parameter_count(half) < parameter_count(whole)


def test_more_layers_than_the_encoder_has_are_refused(tiny_encoder: Path) -> None:
    with pytest.raises(BadInput, match="layers=3, but the encoder has 2 layers"):
        build_model(settings(tiny_encoder, layers=3), LABELS)


def test_an_unknown_encoder_is_refused_with_what_is_known() -> None:
    with pytest.raises(BadInput, match="'no/such-encoder' cannot be loaded.*minilm"):
        build_model(TrainSettings(encoder="no/such-encoder"), LABELS)


def test_vectors_have_no_weight_decay_and_the_head_learns_faster(tiny_encoder: Path) -> None:
    chosen = settings(tiny_encoder, weight_decay=0.1, learning_rate=1e-3, head_factor=5, layer_decay=0.5)
    model = build_model(chosen, LABELS)
    of = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in build_optimizer(model, chosen).param_groups
        for parameter in group["params"]
    }
    layer = model.base_model.get_submodule("encoder.layer.1.output")
    assert of[id(layer.get_parameter("dense.weight"))] == (1e-3, 0.1)
    assert of[id(layer.get_parameter("dense.bias"))] == of[id(layer.get_parameter("LayerNorm.weight"))] == (1e-3, 0.0)
    assert of[id(model.base_model.get_parameter("encoder.layer.0.output.dense.weight"))] == (5e-4, 0.1)
    assert of[id(model.get_input_embeddings().get_parameter("weight"))] == (2.5e-4, 0.1)
    pooler = model.base_model.get_parameter("pooler.dense.weight")
    assert of[id(model.get_parameter("classifier.weight"))] == of[id(pooler)] == (5e-3, 0.1)
    assert of[id(model.get_parameter("classifier.bias"))] == (5e-3, 0.0)
    assert len(of) == len(list(model.parameters()))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "albert"])
def test_the_layers_of_every_family_are_known(family: str, tiny_encoder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(tmp_path)
    FAMILIES[family](len(tokenizer)).save_pretrained(tmp_path)
    model = build_model(settings(tmp_path), LABELS)
    depths = layer_depths(model)
    assert set(depths.values()) == {0, 1, 2}
    tables = [name for name, parameter in model.named_parameters() if parameter is model.get_input_embeddings().weight]
    assert [depths[name] for name in tables] == [2]


def test_the_learning_rate_rises_and_then_falls_to_nothing() -> None:
    factors = [schedule_factor(update, warmup=3, total=10) for update in range(11)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(left > right for left, right in zip(factors[3:], factors[4:], strict=False))
    assert factors[10] == 0


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_that_of_scikit_learn(seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth, predicted = chance.integers(0, 3 + seed, 40), chance.integers(1, 4 + seed, 40)
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
