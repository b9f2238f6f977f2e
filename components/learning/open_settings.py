"""Settings of a training that the data and the encoder decide where they are left open."""

import numpy as np
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from slipway.components.artifacts.text_length import length_for
from slipway.components.learning.scores import Indices
from slipway.components.learning.settings import TrainSettings

MINILM_WEIGHTS, MINILM_RATE = 12 * 6 * 384**2, 2e-4
"""Weights of the layers of MiniLM with 6 layers, and the learning rate that suits them."""
RATE_EXPONENT = 0.9
"""The learning rate falls with this power of the number of weights: to 3e-5 for BERT-base and 1e-5 for BERT-large, as
Devlin et al. (2019) and Liu et al. (2019, RoBERTa) chose them.
"""
HIGHEST_RATE, LOWEST_RATE = 3e-4, 5e-6


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
    """The settings with a length and a learning rate, and with a head that keeps what it starts with.

    A head that starts from the linear probe is as good as the encoder's features allow. At the learning rate of a
    random head it would lose that within the first updates, and the encoder's features with it.

    Args:
        settings: 0 leaves `max_length` or `learning_rate` open.
        config: of the encoder.
        tokenizer: of the encoder.
        counts: tokens of each training text; see `token_counts`.
    """
    from_probe = settings.linear_probe and not settings.privacy_epsilon
    return settings.model_copy(
        update={
            "head_factor": 1.0 if from_probe else settings.head_factor,
            "max_length": settings.max_length or length_for(counts, config, tokenizer),
            "learning_rate": settings.learning_rate or rate_for(config, settings.layers),
        }
    )


def class_weights(label_ids: Indices, classes: int) -> list[float]:
    """Weights with which all classes count the same (`balanced` of scikit-learn); a class without texts gets 1."""
    counts = np.bincount(label_ids, minlength=classes)
    present = int((counts > 0).sum())
    return [len(label_ids) / (present * count) if count else 1.0 for count in counts.tolist()]
