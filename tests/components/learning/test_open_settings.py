"""The length and the learning rate that the data and the encoder decide."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from transformers import BertConfig, PretrainedConfig, RobertaConfig

from slipway.components.artifacts.checkpoint import load_config, load_tokenizer
from slipway.components.artifacts.text_length import length_for, token_counts
from slipway.components.learning.open_settings import class_weights, closed, rate_for
from slipway.components.learning.settings import TrainSettings

MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, max_position_embeddings=512)


@pytest.mark.parametrize(
    ("counts", "config", "length"),
    [
        ([10] * 99 + [400], MINILM, 64),  # no shorter than this, since short texts are not padded to it
        ([150] * 98 + [160, 400], MINILM, 160),
        ([150] * 98 + [161, 400], MINILM, 168),
        ([900] * 100, MINILM, 512),
        ([900] * 100, BertConfig(max_position_embeddings=100), 100),
        ([900] * 100, RobertaConfig(max_position_embeddings=130, pad_token_id=1), 128),
        ([], MINILM, 64),
    ],
)
def test_the_length_reads_99_percent_of_the_texts_as_far_as_the_encoder_goes(
    counts: list[int], config: PretrainedConfig, length: int, tiny_encoder: Path
) -> None:
    assert length_for(np.array(counts, dtype=np.int64), config, load_tokenizer(tiny_encoder)) == length


@pytest.mark.parametrize(
    ("size", "layers", "rate"),
    [
        ({"hidden_size": 384, "num_hidden_layers": 6}, 0, 2e-4),
        ({"hidden_size": 384, "num_hidden_layers": 6}, 3, 3e-4),
        ({"hidden_size": 768, "num_hidden_layers": 12}, 0, 3.1e-5),
        ({"hidden_size": 1024, "num_hidden_layers": 24}, 0, 9.8e-6),
        ({"hidden_size": 4096, "num_hidden_layers": 32}, 0, 5e-6),
    ],
)
def test_a_larger_encoder_learns_more_slowly(size: dict[str, Any], layers: int, rate: float) -> None:
    assert rate_for(BertConfig(**size), layers) == pytest.approx(rate)


def test_what_was_set_stays_and_nothing_is_left_open(tiny_encoder: Path) -> None:
    config, tokenizer = load_config(str(tiny_encoder)), load_tokenizer(tiny_encoder)
    counts = token_counts(["the parcel is late", "x " * 300], tokenizer)
    assert counts.tolist() == [6, 302]
    chosen = TrainSettings(max_length=9, learning_rate=0.5, linear_probe=False)
    assert closed(chosen, config, tokenizer, counts) == chosen
    found = closed(TrainSettings(), config, tokenizer, counts)
    assert (found.max_length, found.learning_rate) == (64, 3e-4)


@pytest.mark.parametrize(
    ("changes", "factor"), [({}, 1.0), ({"linear_probe": False}, 10.0), ({"privacy_epsilon": 3.0}, 10.0)]
)
def test_only_a_random_head_learns_faster_than_the_encoder(
    changes: dict[str, Any], factor: float, tiny_encoder: Path
) -> None:
    config, tokenizer = load_config(str(tiny_encoder)), load_tokenizer(tiny_encoder)
    settings = TrainSettings.model_validate(changes)
    assert closed(settings, config, tokenizer, np.array([5])).head_factor == factor


def test_a_length_that_holds_no_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 8 tokens are needed, or 0"):
        TrainSettings(max_length=3)


def test_weights_make_all_classes_count_the_same() -> None:
    label_ids = np.array([0] * 6 + [1] * 3, dtype=np.int64)
    assert class_weights(label_ids, 3) == [0.75, 1.5, 1.0]


def test_a_private_training_does_not_tell_the_sizes_of_classes() -> None:
    with pytest.raises(ValidationError, match="class_weights tells the sizes of the classes"):
        TrainSettings(privacy_epsilon=3, class_weights="balanced")
