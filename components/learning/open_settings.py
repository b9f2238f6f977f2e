"""Settings of a training that the data and the encoder decide where they are left open."""

from collections.abc import Sequence

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from slipway.components.learning.batches import Indices
from slipway.components.learning.settings import TrainSettings

LONGEST = 512
"""Most tokens that are chosen without being asked for: time and memory grow with the square of the length."""
SHORTEST = 64
"""Fewest tokens that are chosen. Short texts are not padded to it, so that it costs nothing."""
COVERED = 0.99
"""Share of the training texts that are read whole."""
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm")
"""Architectures that count positions from behind the id of the padding token."""
MINILM_WEIGHTS, MINILM_RATE = 12 * 6 * 384**2, 2e-4
"""Weights of the layers of MiniLM with 6 layers, and the learning rate that suits them."""
RATE_EXPONENT = 0.9
"""The learning rate falls with this power of the number of weights: to 3e-5 for BERT-base and 1e-5 for BERT-large, as
Devlin et al. (2019) and Liu et al. (2019, RoBERTa) chose them.
"""
HIGHEST_RATE, LOWEST_RATE = 3e-4, 5e-6


def token_counts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Indices:
    """Tokens of each text with special tokens, nothing cut; shape (texts,)."""
    if not texts:
        return np.zeros(0, dtype=np.int64)
    ids = tokenizer(list(texts), truncation=False, return_token_type_ids=False, return_attention_mask=False)[
        "input_ids"
    ]
    return np.array([len(row) for row in ids], dtype=np.int64)


def length_for(counts: Indices, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The number of tokens that reads 99 % of the texts whole, as far as the encoder takes so many.

    Args:
        counts: tokens of each training text.
        config: of the encoder.
        tokenizer: of the encoder.
    """
    wanted = int(np.quantile(counts, COVERED, method="inverted_cdf")) if len(counts) else SHORTEST
    positions = int(getattr(config, "max_position_embeddings", None) or LONGEST)
    if config.model_type in OFFSET_POSITIONS:
        positions -= int(config.pad_token_id or 0) + 1
    most = min(positions if positions > 0 else LONGEST, int(min(tokenizer.model_max_length, LONGEST)), LONGEST)
    return max(8, min(most, max(SHORTEST, -(-wanted // 8) * 8)))


def rate_for(config: PretrainedConfig, layers: int) -> float:
    """The highest learning rate that suits the size of an encoder, by the number of weights in its layers.

    Args:
        config: of the encoder.
        layers: the setting; 0 for all.
    """
    weights = 12 * (layers or int(config.num_hidden_layers)) * int(config.hidden_size) ** 2
    rate = MINILM_RATE * (MINILM_WEIGHTS / max(weights, 1)) ** RATE_EXPONENT
    return float(f"{min(HIGHEST_RATE, max(LOWEST_RATE, rate)):.2g}")


def closed(
    settings: TrainSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, counts: Indices
) -> TrainSettings:
    """The settings with a length and a learning rate.

    Args:
        settings: 0 leaves `max_length` or `learning_rate` open.
        config: of the encoder.
        tokenizer: of the encoder.
        counts: tokens of each training text; see `token_counts`.
    """
    return settings.model_copy(
        update={
            "max_length": settings.max_length or length_for(counts, config, tokenizer),
            "learning_rate": settings.learning_rate or rate_for(config, settings.layers),
        }
    )


def class_weights(label_ids: Indices, classes: int) -> list[float]:
    """Weights with which all classes count the same (`balanced` of scikit-learn); a class without texts gets 1."""
    counts = np.bincount(label_ids, minlength=classes)
    present = int((counts > 0).sum())
    return [len(label_ids) / (present * count) if count else 1.0 for count in counts.tolist()]
