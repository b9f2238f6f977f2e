"""One classifier in the forms that the servers of the comparison take: a Hugging Face folder and bundles.

The head is not trained: speed does not depend on the values of weights, and quality is the matter of
`benchmarks/compression`. The compressed bundle has the shape that the step `compress` usually chooses: half the layers,
int8.
"""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from slipway.components.artifacts.bundle import MODEL
from slipway.components.artifacts.checkpoint import load_tokenizer, save_checkpoint
from slipway.components.artifacts.encoder import encoder_folder
from slipway.components.compress.draft_bundle import Origin, write_draft_files
from slipway.components.compress.export import export
from slipway.components.compress.quantise import quantise_dynamically
from slipway.components.learning.optimisation import keep_layers

LABELS = ["negative", "positive"]
MAX_LENGTH = 128


def make(folder: Path, encoder: str = "minilm", layers: int = 3) -> dict[str, Path]:
    """Write `checkpoint` (Hugging Face layout), `fp32` and `compressed` (bundles) and return their folders."""
    places = {name: folder / name for name in ("checkpoint", "fp32", "compressed")}
    tokenizer = load_tokenizer(encoder_folder(encoder))
    info = {"labels": LABELS, "max_length": MAX_LENGTH, "dataset_digest": "sha256:none", "encoder": encoder}
    for name, kept in (("fp32", 0), ("compressed", layers)):
        torch.manual_seed(1)
        model = _classifier(encoder)
        if kept:
            keep_layers(model, kept)
        if name == "fp32":
            save_checkpoint(places["checkpoint"], model, tokenizer, info)
        write_draft_files(places[name], tokenizer, Origin(info, "bench", "benchmark").bundle_info(name, name))
        target = places[name] / MODEL
        exported = target if name == "fp32" else folder / "student.onnx"
        export(model, exported, MAX_LENGTH, heads=(model.config.num_attention_heads, model.config.hidden_size))
        if name == "compressed":
            quantise_dynamically(exported, target)
    return places


def _classifier(encoder: str) -> PreTrainedModel:
    """With the head of the transformers library, so that every server can load it."""
    names = dict(enumerate(LABELS))
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        encoder_folder(encoder), num_labels=len(LABELS), id2label=names, label2id={v: k for k, v in names.items()}
    )
    model.train(False)
    return model
