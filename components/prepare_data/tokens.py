"""Lengths of the texts in tokens, so that the data report says how many the model will cut."""

from collections.abc import Mapping, Sequence

import numpy as np

from slipway.components.artifacts.encoder import encoder_folder
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.result import TokenLengths
from slipway.components.step_runtime import progress


def lengths_of(splits: Mapping[str, Sequence[Example]], encoder: str, max_length: int) -> TokenLengths:
    """Count the tokens of all texts, and those that are longer than the model reads.

    Args:
        splits: the examples of each split.
        encoder: name or folder of the encoder.
        max_length: the setting of the step train; 0 for the length that this step decides by the data.

    Raises:
        BadInput: the encoder cannot be loaded.
    """
    from slipway.components.artifacts.checkpoint import load_config, load_tokenizer  # they take seconds to load
    from slipway.components.artifacts.text_length import length_for, token_counts

    folder = encoder_folder(encoder)
    tokenizer = load_tokenizer(folder)
    counts = {name: token_counts([example.text for example in rows], tokenizer) for name, rows in splits.items()}
    length = max_length or length_for(counts["train"], load_config(folder), tokenizer)
    cut = {name: int((of_split > length).sum()) for name, of_split in counts.items()}
    if total := sum(cut.values()):
        progress.report("prepare_data", f"{total} texts are longer than {length} tokens, and will be cut there")
    return TokenLengths(
        encoder=encoder,
        max_length=length,
        p99=int(np.quantile(counts["train"], 0.99, method="inverted_cdf")),
        longest=max(int(of_split.max(initial=0)) for of_split in counts.values()),
        cut=cut,
    )
