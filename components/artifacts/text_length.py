"""Lengths of texts in the tokens of an encoder, and the length up to which a model reads."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from transformers import PretrainedConfig, PreTrainedTokenizerBase

Indices = npt.NDArray[np.int64]
LONGEST = 512
"""Most tokens that are chosen without being asked for: time and memory grow with the square of the length."""
SHORTEST = 64
"""Fewest tokens that are chosen. Short texts are not padded to it, so that it costs nothing."""
COVERED = 0.99
"""Share of the training texts that are read whole."""
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm")
"""Architectures that count positions from behind the id of the padding token."""


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
