"""Vocabulary pruning: the rows of the embedding table that the task does not need, and the tokenizer to match.

Half of the parameters of a small encoder are its embedding table. As Abdaoui et al. (2020, Load what you need) do with
languages, only the tokens stay that the training texts need, then the most frequent ones, and all single characters, so
that any text can still be written: a word whose token went away is written in shorter pieces.
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
    """The old ids of the tokens that stay, in the order of their new ids, and the `tokenizer.json` of only them."""

    kept: list[int]
    tokenizer: str

    def encoded(self, texts: EncodedTexts) -> EncodedTexts:
        """The training texts in new ids."""
        new_ids = {old: new for new, old in enumerate(self.kept)}
        ids = [[new_ids[token] for token in tokens] for tokens in texts.token_ids]
        return EncodedTexts.of_ids(ids, texts.label_ids, texts.padding_id)


def reduced(tokenizer: PreTrainedTokenizerBase, texts: EncodedTexts, share: float) -> Vocabulary | None:
    """The vocabulary without what the task does not need; all training texts keep their tokens.

    Order stands for frequency: the vocabularies of WordPiece, BPE and Unigram are written from frequent to rare.

    Args:
        tokenizer: with a `tokenizer.json`.
        texts: the training texts.
        share: part of the tokens that stays; more of them if the training texts and the single characters need more.

    Returns:
        None when the tokenizer is of another kind, or nothing could go.
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
    if len(kept) >= len(tokens) or new_ids.get(padding) != padding:  # RoBERTa counts positions from the padding token
        return None
    REWRITERS[kind](record["model"], new_ids)
    _rewrite_specials(record, new_ids)
    return Vocabulary(kept, json.dumps(record, ensure_ascii=False))


def with_vocabulary(model: PreTrainedModel, vocabulary: Vocabulary) -> PreTrainedModel:
    """A copy of the model that has only these rows of the embedding table, in the new order."""
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
    """Whether the token is one character, a piece of one, or a byte: what every other text can be written with.

    Args:
        token: of the vocabulary.
        suffix: of tokens at the end of a word.
    """
    bare = token.removeprefix("##").removesuffix(suffix) if token not in ("##", suffix) else token
    return len(bare.removeprefix("▁")) <= 1 or (len(token) == 6 and token.startswith("<0x"))


def _filled(needed: set[int], tokens: list[str], count: int, bpe: Json | None) -> list[int]:
    """The needed tokens, and the first others up to `count`; of BPE only such as can be built from those that stay."""
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
    """For each token of BPE the two that are merged into it."""
    vocab = bpe["vocab"]
    pairs = (merge if isinstance(merge, list) else merge.split(" ", 1) for merge in bpe["merges"])
    return {vocab[_merged(left, right, bpe)]: (vocab[left], vocab[right]) for left, right in pairs}


def _merged(left: str, right: str, bpe: Json) -> str:
    """What two tokens of BPE become; the second has the prefix of pieces within a word, if there is one."""
    return left + right.removeprefix(bpe.get("continuing_subword_prefix") or "")


def _with_ancestors(needed: set[int], bpe: Json) -> set[int]:
    """The tokens with all those that are merged on the way to them."""
    parents, waiting, found = _parents(bpe), list(needed), set(needed)
    while waiting:
        for part in parents.get(waiting.pop(), ()):
            if part not in found:
                found.add(part)
                waiting.append(part)
    return found


def _rewrite_words(model: Json, new_ids: dict[int, int]) -> None:
    model["vocab"] = {token: new_ids[index] for token, index in model["vocab"].items() if index in new_ids}


def _rewrite_bpe(model: Json, new_ids: dict[int, int]) -> None:
    _rewrite_words(model, new_ids)
    vocab = model["vocab"]

    def possible(pair: Iterable[str]) -> bool:
        left, right = pair
        return left in vocab and right in vocab and _merged(left, right, model) in vocab

    model["merges"] = [
        merge for merge in model["merges"] if possible(merge if isinstance(merge, list) else merge.split(" ", 1))
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
    """New ids of the special tokens, wherever `tokenizer.json` names them."""
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
