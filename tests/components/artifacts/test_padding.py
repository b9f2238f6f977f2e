"""A text has the same label in a batch as alone, whatever the id of the padding token is; the bundle has that id."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from slipway.components.artifacts.bundle import MODEL, Bundle
from slipway.components.artifacts.encoder_check import DECODERS
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.compress.draft_bundle import Origin, write_draft_files
from slipway.components.compress.export import TOLERANCE, export
from slipway.components.errors import BadInput
from slipway.components.learning.batches import EncodedTexts

WORDS = [chr(code) for code in range(97, 123)]
END = len(WORDS)
TEXTS = ["a b c", "d", " ".join(WORDS[::2]), "", "z y x w v u"]
INFO: dict[str, Any] = {"labels": ["x", "y", "z"], "dataset_digest": "sha256:0", "max_length": 16}
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
OF_KIND: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), SIZES | {"num_key_value_heads": 2}),
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64},
}


def tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2's: no special tokens around a text, no padding token but the end of a text, the last id."""
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*WORDS, "<end>"])}, unk_token="<end>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_a_decoder_answers_in_a_batch_as_alone(kind: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(kind, vocab_size=END + 1, **OF_KIND.get(kind, SIZES))
    config.num_labels, config.pad_token_id = 3, END
    config.bos_token_id = config.eos_token_id = END
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    write_draft_files(tmp_path, tokenizer(), Origin(INFO, "m", "test", "clean-1").bundle_info("teacher", "fp32"))
    texts = EncodedTexts(TEXTS[:3], np.zeros(3, np.int64), tokenizer(), 16)
    assert export(model, tmp_path / MODEL, 16, texts=texts).difference <= TOLERANCE
    classifier = Classifier(tmp_path)
    alone = np.concatenate([classifier.logits([text]) for text in TEXTS])
    np.testing.assert_allclose(classifier.logits(TEXTS), alone, atol=1e-5)
    model.train(False)
    with torch.inference_mode():
        batch = texts.batch(np.arange(3)).inputs
        np.testing.assert_allclose(classifier.logits(TEXTS[:3]), model(**batch).logits.numpy(), atol=1e-4)


def test_a_bundle_says_what_an_earlier_release_would_get_wrong_and_only_then_has_the_format_2(
    draft_bundle: Path, tmp_path: Path
) -> None:
    plain = json.loads((draft_bundle / "bundle.json").read_text())
    assert (plain["format"], "padding_id" in plain, "normalisation" in plain) == (1, False, False)
    assert (Bundle(draft_bundle).info.padding_id, Bundle(draft_bundle).info.normalisation) == (0, "")
    write_draft_files(tmp_path, tokenizer(), Origin(INFO, "m", "test", "clean-1").bundle_info("teacher", "fp32"))
    (tmp_path / MODEL).touch()
    info = Bundle(tmp_path).info
    assert (info.format, info.padding_id, info.normalisation) == (2, END, "clean-1")
    content = json.loads((tmp_path / "bundle.json").read_text()) | {"normalisation": "clean-9"}
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="normalisation"):
        _ = Bundle(tmp_path).info
