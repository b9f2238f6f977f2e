"""Smaller vocabularies of the three kinds of tokenizers: same tokens for the training texts, and no text is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress.vocabulary import Vocabulary, reduced, with_vocabulary
from slipway.components.learning.batches import EncodedTexts

TRAIN = ["the parcel is late again", "why was my card charged", "please unlock the account"]
CORPUS = [*TRAIN, "quarterly invoices were mislabelled", "the courier misplaced several packages", "zebra quiz"] * 20
UNSEEN = "mislabelled zebra parcels"
SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}


def trained(kind: str) -> PreTrainedTokenizerFast:
    special = list(SPECIAL.values())
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: trainers.Trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=special)
    elif kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    return fast(tokenizer)


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    make: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast
    return make(tokenizer_object=tokenizer, **SPECIAL)


def classifier(config: PreTrainedConfig) -> PreTrainedModel:
    build: Callable[[PreTrainedConfig], PreTrainedModel] = AutoModelForSequenceClassification.from_config
    return build(config)


def embeddings(model: PreTrainedModel) -> nn.Embedding:
    found = model.get_input_embeddings()
    assert isinstance(found, nn.Embedding)
    return found


@pytest.fixture(params=["WordPiece", "BPE", "Unigram"])
def both(request: pytest.FixtureRequest) -> tuple[PreTrainedTokenizerFast, EncodedTexts, Vocabulary]:
    tokenizer = trained(request.param)
    texts = EncodedTexts(TRAIN, np.zeros(len(TRAIN), dtype=np.int64), tokenizer, 64)
    vocabulary = reduced(tokenizer, texts, share=0.1)
    assert vocabulary is not None
    return tokenizer, texts, vocabulary


def test_training_texts_keep_their_tokens(both: tuple[PreTrainedTokenizerFast, EncodedTexts, Vocabulary]) -> None:
    tokenizer, texts, vocabulary = both
    smaller = Tokenizer.from_str(vocabulary.tokenizer)
    assert smaller.get_vocab_size() == len(vocabulary.kept) < len(tokenizer)
    for text, ids, new_ids in zip(TRAIN, texts.token_ids, vocabulary.encoded(texts).token_ids, strict=True):
        encoding = smaller.encode(text)
        assert encoding.tokens == tokenizer.convert_ids_to_tokens(ids)
        assert encoding.ids == new_ids
        assert [vocabulary.kept[new] for new in encoding.ids] == ids


def test_unseen_words_are_written_in_shorter_pieces_and_not_lost(
    both: tuple[PreTrainedTokenizerFast, EncodedTexts, Vocabulary],
) -> None:
    tokenizer, _, vocabulary = both
    encoding = Tokenizer.from_str(vocabulary.tokenizer).encode(UNSEEN)
    assert len(encoding.ids) > len(tokenizer(UNSEEN)["input_ids"])
    assert "<unk>" not in encoding.tokens
    written = "".join(encoding.tokens[1:-1])
    for marker in ("##", "▁", "Ġ"):
        written = written.replace(marker, "")
    assert written == UNSEEN.replace(" ", "")


def test_a_larger_share_keeps_the_most_frequent_of_the_others(
    both: tuple[PreTrainedTokenizerFast, EncodedTexts, Vocabulary],
) -> None:
    tokenizer, texts, small = both
    larger = reduced(tokenizer, texts, share=(len(small.kept) + 5) / len(tokenizer))
    assert larger is not None
    assert set(small.kept) < set(larger.kept)
    Tokenizer.from_str(larger.tokenizer).encode(UNSEEN)


def test_nothing_is_rewritten_when_everything_is_kept() -> None:
    tokenizer = trained("WordPiece")
    texts = EncodedTexts(TRAIN, np.zeros(len(TRAIN), dtype=np.int64), tokenizer, 64)
    assert reduced(tokenizer, texts, share=1.0) is None


def test_a_tokenizer_of_another_kind_is_left_whole() -> None:
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, "parcel": 4}, unk_token="<unk>"))
    tokenizer = fast(words)
    texts = EncodedTexts(["parcel"], np.zeros(1, dtype=np.int64), tokenizer, 64)
    assert reduced(tokenizer, texts, share=0.1) is None


def test_the_model_gives_the_same_logits_with_fewer_rows(tiny_checkpoint: Path, small_dataset: TextDataset) -> None:
    model, tokenizer, _ = load_checkpoint(tiny_checkpoint)
    texts = EncodedTexts(small_dataset.texts("train")[:6], small_dataset.label_ids("train")[:6], tokenizer, 32)
    vocabulary = reduced(tokenizer, texts, share=0.1)
    assert vocabulary is not None
    smaller = with_vocabulary(model, vocabulary)
    assert embeddings(smaller).weight.shape[0] == len(vocabulary.kept) < len(tokenizer)
    assert model.config.vocab_size == len(tokenizer)
    rows = np.arange(6)
    with torch.inference_mode():
        wanted = model(**texts.batch(rows).inputs).logits
        given = smaller(**vocabulary.encoded(texts).batch(rows).inputs).logits
    torch.testing.assert_close(given, wanted)


def test_the_special_tokens_of_berts_own_processor_get_their_new_ids() -> None:
    tokenizer = trained("WordPiece")
    record = json.loads(tokenizer.backend_tokenizer.to_str())
    ids = {item["content"]: item["id"] for item in record["added_tokens"]}
    record["post_processor"] = {
        "type": "BertProcessing",
        "sep": ["</s>", ids["</s>"]],
        "cls": ["<s>", ids["<s>"]],
    }
    own = fast(Tokenizer.from_str(json.dumps(record)))
    texts = EncodedTexts(TRAIN, np.zeros(len(TRAIN), dtype=np.int64), own, 64)
    vocabulary = reduced(own, texts, share=0.1)
    assert vocabulary is not None
    tokens = Tokenizer.from_str(vocabulary.tokenizer).encode("the parcel").tokens
    assert (tokens[0], tokens[-1]) == ("<s>", "</s>")


def test_a_config_of_the_smaller_model_still_builds_one() -> None:
    model = classifier(
        BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    )
    smaller = with_vocabulary(model, Vocabulary(list(range(20)), "{}"))
    assert embeddings(classifier(smaller.config)).num_embeddings == 20


@pytest.mark.parametrize("affix", [{"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}])
def test_affixes_of_bpe_are_known(affix: dict[str, Any]) -> None:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **affix))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=[*SPECIAL.values()], **affix)
    )
    whole = fast(tokenizer)
    texts = EncodedTexts(TRAIN[:2], np.zeros(2, dtype=np.int64), whole, 64)
    vocabulary = reduced(whole, texts, share=0.1)
    assert vocabulary is not None
    smaller = Tokenizer.from_str(vocabulary.tokenizer)
    for text in TRAIN[:2]:
        assert smaller.encode(text).tokens == tokenizer.encode(text).tokens
    for text in CORPUS:
        assert ("<unk>" in smaller.encode(text).tokens) == ("<unk>" in tokenizer.encode(text).tokens)
