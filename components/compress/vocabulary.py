"""Vocabulary pruning: remove rows of the embedding table that the task does not need, and rewrite the tokenizer.

Half of the parameters of a small encoder are in its embedding table. As Abdaoui et al. (2020, Load what you need) do
for languages, only some tokens are kept: those of the training texts, the most frequent ones, and all single
characters. So any text can still be encoded: a word whose token was removed becomes several shorter tokens.
"""

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slipway.components.compress.search_state import embedding_sizes
from slipway.components.learning.batches import EncodedTexts

Json = dict[str, Any]


class Vocabulary(NamedTuple):
    """The old ids of the tokens that are kept, in the order of their new ids, and the `tokenizer.json` with them."""

    kept: list[int]
    tokenizer: str

    def encoded(self, texts: EncodedTexts) -> EncodedTexts:
        """The training texts with the new ids."""
        new_ids = {old: new for new, old in enumerate(self.kept)}
        ids = [[new_ids[token] for token in tokens] for tokens in texts.token_ids]
        return EncodedTexts.of_ids(ids, texts.label_ids, texts.padding_id)


def reduced(tokenizer: PreTrainedTokenizerBase, texts: EncodedTexts, share: float) -> Vocabulary | None:
    """Reduce the vocabulary to the tokens that the task needs. All training texts keep their tokens.

    The ids of tokens stand for their frequency, since the vocabularies of WordPiece, BPE and Unigram are sorted from
    frequent to rare.

    Args:
        tokenizer: with a `tokenizer.json`.
        texts: the training texts.
        share: part of the tokens that is kept; more tokens are kept if the training texts and the single characters
            need more.

    Returns:
        None when the tokenizer is of another kind, or no token can be removed.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    record: Json = json.loads(backend.to_str())
    kind = str(record["model"].get("type"))
    if kind not in REWRITERS:
        return None
    tokens = _tokens(record)
    needed = {int(token) for ids in texts.token_ids for token in ids}
    suffix = record["model"].get("end_of_word_suffix") or ""
    needed |= {index for index, token in enumerate(tokens) if _is_single(token, suffix)}
    needed |= {item["id"] for item in record["added_tokens"] if not item["content"].startswith("[unused")}
    needed |= {*tokenizer.all_special_ids, int(record["model"].get("unk_id") or 0)}
    if kind == "BPE":
        needed = _with_ancestors(needed, record["model"])
    kept = _filled(needed, tokens, round(share * len(tokens)), record["model"] if kind == "BPE" else None)
    new_ids = {old: new for new, old in enumerate(kept)}
    padding = int(tokenizer.pad_token_id or 0)
    # The id of the padding token must not change: RoBERTa computes positions from it.
    if len(kept) >= len(tokens) or new_ids.get(padding) != padding:
        return None
    REWRITERS[kind](record["model"], new_ids)
    _rewrite_specials(record, new_ids)
    return Vocabulary(kept, json.dumps(record, ensure_ascii=False))


def with_vocabulary(model: PreTrainedModel, vocabulary: Vocabulary) -> PreTrainedModel:
    """A copy of the model whose embedding table has only the rows of this vocabulary."""
    model = copy.deepcopy(model)
    table: Any = model.get_input_embeddings()
    table.weight = nn.Parameter(table.weight.detach()[torch.tensor(vocabulary.kept)].clone())
    embedding_sizes(table)
    model.config.vocab_size = len(vocabulary.kept)
    return model


def _tokens(record: Json) -> list[str]:
    """All tokens, in the order of their ids."""
    vocab = record["model"]["vocab"]
    known = dict(vocab) if isinstance(vocab, dict) else {token: index for index, (token, _) in enumerate(vocab)}
    known |= {item["content"]: item["id"] for item in record["added_tokens"]}
    tokens = [""] * (max(known.values()) + 1)
    for token, index in known.items():
        tokens[index] = token
    return tokens


def _is_single(token: str, suffix: str = "") -> bool:
    """Whether the token is one character, a part of one, or a byte. With these tokens every text can be encoded.

    Args:
        token: of the vocabulary.
        suffix: that marks tokens at the end of a word.
    """
    bare = token.removeprefix("##").removesuffix(suffix) if token not in ("##", suffix) else token
    return len(bare.removeprefix("▁")) <= 1 or (len(token) == 6 and token.startswith("<0x"))


def _filled(needed: set[int], tokens: list[str], count: int, bpe: Json | None) -> list[int]:
    """The needed tokens, and the most frequent other tokens up to `count` in all.

    A token of BPE is kept only if the tokens that are merged into it are kept, too.
    """
    kept = set(needed)
    parents = _parents(bpe) if bpe else {}
    for index, token in enumerate(tokens):
        if len(kept) >= count:
            break
        buildable = all(part in kept for part in parents.get(index, ()))
        if index not in kept and token and not token.startswith("[unused") and buildable:
            kept.add(index)
    return sorted(kept)


def _parents(bpe: Json) -> dict[int, tuple[int, int]]:
    """For each token of BPE the two tokens that are merged into it."""
    vocab = bpe["vocab"]
    pairs = (merge if isinstance(merge, list) else merge.split(" ", 1) for merge in bpe["merges"])
    return {vocab[_merged(left, right, bpe)]: (vocab[left], vocab[right]) for left, right in pairs}


def _merged(left: str, right: str, bpe: Json) -> str:
    """The token into which two tokens of BPE are merged. The second one loses its prefix, if pieces within a word have
    one.
    """
    return left + right.removeprefix(bpe.get("continuing_subword_prefix") or "")


def _with_ancestors(needed: set[int], bpe: Json) -> set[int]:
    """The tokens, and all tokens that are merged on the way to them."""
    parents, waiting, ancestors = _parents(bpe), list(needed), set(needed)
    while waiting:
        for part in parents.get(waiting.pop(), ()):
            if part not in ancestors:
                ancestors.add(part)
                waiting.append(part)
    return ancestors


def _rewrite_words(model: Json, new_ids: dict[int, int]) -> None:
    model["vocab"] = {token: new_ids[index] for token, index in model["vocab"].items() if index in new_ids}


def _rewrite_bpe(model: Json, new_ids: dict[int, int]) -> None:
    _rewrite_words(model, new_ids)
    vocab = model["vocab"]

    def is_kept(pair: Iterable[str]) -> bool:
        left, right = pair
        return left in vocab and right in vocab and _merged(left, right, model) in vocab

    model["merges"] = [
        merge for merge in model["merges"] if is_kept(merge if isinstance(merge, list) else merge.split(" ", 1))
    ]


def _rewrite_unigram(model: Json, new_ids: dict[int, int]) -> None:
    model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new_ids]
    model["unk_id"] = new_ids[model["unk_id"]] if model.get("unk_id") is not None else None


REWRITERS: dict[str, Callable[[Json, dict[int, int]], None]] = {
    "WordPiece": _rewrite_words,
    "BPE": _rewrite_bpe,
    "Unigram": _rewrite_unigram,
}


def _rewrite_specials(record: Json, new_ids: dict[int, int]) -> None:
    """Replace the ids of special tokens everywhere in `tokenizer.json`."""
    record["added_tokens"] = [
        item | {"id": new_ids[item["id"]]} for item in record["added_tokens"] if item["id"] in new_ids
    ]
    if record.get("padding"):
        record["padding"]["pad_id"] = new_ids[record["padding"]["pad_id"]]
    for processor in _processors(record.get("post_processor")):
        for special in processor.get("special_tokens", {}).values():
            special["ids"] = [new_ids[index] for index in special["ids"]]
        for end in ("sep", "cls"):
            if end in processor:
                token, index = processor[end]
                processor[end] = [token, new_ids[index]]


def _processors(processor: Json | None) -> list[Json]:
    if not processor:
        return []
    return [processor, *(inner for item in processor.get("processors", []) for inner in _processors(item))]
