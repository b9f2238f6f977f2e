"""A classifier for encoders that were trained to give the mean of their token vectors as the vector of a text.

The usual classifier of a BERT reads the vector of the first token through a pooler. A sentence encoder (Reimers &
Gurevych 2019, Sentence-BERT) was never trained to put anything there, so a classifier that reads the mean starts
much nearer to its goal.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

POOLING_FILE = "1_Pooling/config.json"
"""Where a sentence-transformers folder says how its encoder pools."""


class MeanPooledBert(BertForSequenceClassification):  # type: ignore[no-untyped-call]  # of its base
    """A linear classifier over the mean of the token vectors of a BERT."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert.pooler = None

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any
    ) -> SequenceClassifierOutput:
        """Logits, float32 (texts, classes), of int64 (texts, tokens)."""
        encoded = self.bert(input_ids=input_ids, attention_mask=attention_mask, **options)
        vectors = encoded.last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(vectors.dtype)
        mean = (vectors * mask).sum(dim=1) / mask.sum(dim=1)
        return SequenceClassifierOutput(
            logits=self.classifier(self.dropout(mean)),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


def is_mean_pooled(folder: str | Path, model_type: str, architectures: list[str] | None) -> bool:
    """Whether a folder holds a `MeanPooledBert`, or a BERT that was trained as a sentence encoder with mean pooling."""
    if model_type != "bert":
        return False
    if MeanPooledBert.__name__ in (architectures or []):
        return True
    try:
        pooling = json.loads((Path(folder) / POOLING_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(pooling.get("pooling_mode_mean_tokens"))
