"""Classifiers over the mean of token vectors: padding does not count, and a checkpoint of one is read as one."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from slipway.components.artifacts.checkpoint import load_checkpoint, load_tokenizer, new_classifier, save_checkpoint
from slipway.components.artifacts.mean_pooled_bert import POOLING_FILE, MeanPooledBert


@pytest.fixture
def sentence_encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    (folder / POOLING_FILE).parent.mkdir()
    (folder / POOLING_FILE).write_text(json.dumps({"pooling_mode_mean_tokens": True}), "utf-8")
    return folder


def test_only_an_encoder_that_was_trained_with_the_mean_is_read_by_it(
    tiny_encoder: Path, sentence_encoder: Path
) -> None:
    assert isinstance(new_classifier(str(sentence_encoder), ["a", "b"]), MeanPooledBert)
    assert not isinstance(new_classifier(str(tiny_encoder), ["a", "b"]), MeanPooledBert)


def test_padding_does_not_change_the_logits(sentence_encoder: Path) -> None:
    model = new_classifier(str(sentence_encoder), ["a", "b"]).train(False)
    ids, mask = torch.tensor([[2, 5, 9, 3]]), torch.ones(1, 4, dtype=torch.int64)
    padding = torch.zeros(1, 3, dtype=torch.int64)
    with torch.inference_mode():
        short = model(input_ids=ids, attention_mask=mask).logits
        padded = model(input_ids=torch.cat([ids, padding], 1), attention_mask=torch.cat([mask, padding], 1)).logits
    torch.testing.assert_close(short, padded)


def test_a_checkpoint_gives_the_same_logits(sentence_encoder: Path, tmp_path: Path) -> None:
    model = new_classifier(str(sentence_encoder), ["a", "b"]).train(False)
    info = {"labels": ["a", "b"], "dataset_digest": "sha256:0", "max_length": 16}
    save_checkpoint(tmp_path / "checkpoint", model, load_tokenizer(sentence_encoder), info)
    again, _, found = load_checkpoint(tmp_path / "checkpoint")
    assert isinstance(again, MeanPooledBert)
    assert found == info
    given = {"input_ids": torch.tensor([[2, 5, 3]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    with torch.inference_mode():
        torch.testing.assert_close(again(**given).logits, model(**given).logits)
