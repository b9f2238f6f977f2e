"""A classifier for BERT encoders that were trained as sentence encoders with mean pooling.

Such an encoder (Reimers & Gurevych 2019, Sentence-BERT) represents a text by the mean of its token vectors. The usual
classifier of a BERT reads the vector of the first token through a pooler, which was not trained in these encoders. So a
classifier on the mean starts much nearer to a good one.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

POOLING_FILE = "1_Pooling/config.json"
"""The file in a sentence-transformers folder that states the pooling of the encoder."""


class MeanPooledBert(BertForSequenceClassification):  # type: ignore[no-untyped-call]  # of its base
    """A linear classifier over the mean of the token vectors of a BERT."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert.pooler = None  # not used, so that it is neither trained nor exported

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any
    ) -> SequenceClassifierOutput:
        """Logits, float32 (texts, classes), for token ids and mask, int64 (texts, tokens)."""
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
    """Whether a folder has a `MeanPooledBert`, or a BERT that was trained as a sentence encoder with mean pooling."""
    if model_type != "bert":
        return False
    if MeanPooledBert.__name__ in (architectures or []):
        return True
    try:
        pooling = json.loads((Path(folder) / POOLING_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(pooling.get("pooling_mode_mean_tokens"))
