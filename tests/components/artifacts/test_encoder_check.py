"""An encoder is looked into before a run: what would answer wrongly, or fail after hours, is told at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from slipway.components.artifacts.encoder_check import check_encoder
from slipway.components.errors import BadInput


@pytest.fixture
def encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, which takes 64 tokens."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_added_token(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    number = 1 + max(tokenizer["model"]["vocab"].values())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": number, "content": "@user"} | flags)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def of_kind(kind: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        AutoConfig.for_model(kind, **values).save_pretrained(folder)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_tokenizer, "has no tokenizer files, so that every word would be unknown"),
        (pickled, "only pytorch_model.bin, a pickle.*convert it: python -c"),
        (without_weights, "has no weights in a .safetensors file; save the model again"),
        (
            with_added_token,
            r"such as '@user', but the model has embeddings for \d+ tokens; call resize_token_embeddings",
        ),
        (of_kind("t5"), "is a t5, an encoder with a decoder"),
        (of_kind("bart"), "is a bart, an encoder with a decoder"),
        (of_kind("vit"), "is a vit, for which the library transformers has no classifier"),
        (of_kind("xlnet"), "is a xlnet, a decoder that is not known to be served .* gpt2"),
        (of_kind("roberta", max_position_embeddings=66), "at most 64 tokens, but max_length is 65"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_told_with_what_to_do(
    encoder: Path, change: Callable[[Path], None], words: str
) -> None:
    change(encoder)
    with pytest.raises(BadInput, match=words):
        check_encoder(str(encoder), 65)


def test_an_encoder_that_can_be_used_passes(encoder: Path) -> None:
    check_encoder(str(encoder), 64)
    with pytest.raises(BadInput, match="at most 64 tokens, but max_length is 65; set train.max_length to 64 or less"):
        check_encoder(str(encoder), 65)
    check_encoder(str(encoder))
