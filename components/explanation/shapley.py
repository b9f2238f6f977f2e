"""Which words of a text speak for a label: Shapley values of words, for any function from tokens to logits.

The value of a set of words is the logit of a class when all other words are replaced by the mask token. The Shapley
value of a word (Shapley 1953; for explanations Lundberg and Lee, NeurIPS 2017) is what it adds to that on average over
all orders in which the words can be revealed. For few words it is computed over all sets; for more it is estimated
from random orders (Castro, Gómez and Tejada, Computers & Operations Research 36, 2009), each taken forwards and
backwards (antithetic sampling; Mitchell, Cooper, Frank and Holmes, JMLR 23, 2022).

Either way the attributions of a text sum to logit(text) - logit(text with every word masked): within one order the
contributions telescope. No gradients are needed, so an int8 model can be explained as well as its teacher.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from tokenizers import Encoding, Tokenizer

from slipway.components.errors import BadInput
from slipway.components.explanation.class_explanation import ClassExplanation

Numbers = npt.NDArray[np.float64]
Sets = npt.NDArray[np.bool_]
MOST_INFERENCES = 256
"""Inferences for one text, unless a single order of its words takes more."""
MOST_WORDS = 64
"""Words with an attribution of their own; in a longer text neighbours share one."""
SEED = 13
MASKS = ("[MASK]", "<mask>", "[UNK]", "<unk>", "[PAD]", "<pad>")
"""What stands for a word that is not there, in order of preference, by its names in the common vocabularies."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of one inference; for classifiers it is as good as an `Encoding`."""

    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Plan:
    """The sets of words whose logits are needed, and how attributions follow from them."""

    sets: Sets
    """Which words are present, shape (sets, words); the first row has none, the last all."""
    weights: Numbers
    """Shape (estimates, words, sets): every estimate of the attributions is its matrix times the logits."""


@dataclass(frozen=True)
class Explanation:
    """Attributions of one text."""

    words: list[str]
    attributions: Numbers
    """What each word adds to the logit of each class, shape (words, classes)."""
    errors: Numbers
    """Standard errors of the attributions, same shape: 0 where they are exact, NaN where one estimate is all."""
    logits: Numbers
    """Of the text, shape (classes,)."""
    baseline: Numbers
    """Logits with every word masked, shape (classes,)."""
    inferences: int
    cut: bool
    """Whether the text goes on, beyond what the model reads."""

    def of_class(self, index: int, label: str) -> ClassExplanation:
        """What speaks for one class."""
        return ClassExplanation(
            label=label,
            words=self.words,
            attributions=self.attributions[:, index].tolist(),
            errors=[None if np.isnan(error) else float(error) for error in self.errors[:, index]],
            logit=float(self.logits[index]),
            baseline=float(self.baseline[index]),
            inferences=self.inferences,
            cut=self.cut,
        )

    def to_json(self, index: int, label: str) -> dict[str, JsonValue]:
        """The same as plain JSON."""
        plain: dict[str, JsonValue] = self.of_class(index, label).model_dump(mode="json", exclude_unset=True)
        return plain


class Question:
    """What must be asked of a model to explain one text: give the logits of `rows` to `answer`.

    Args:
        text: the text.
        tokenizer: of the model, with its truncation set; words that are cut off have no part.
        inferences: about how many to spend.
        words: bound of the attributions; neighbouring words are put together to stay within it.

    Raises:
        BadInput: the tokenizer has no token that can stand for a missing word.
    """

    def __init__(
        self, text: str, tokenizer: Tokenizer, inferences: int = MOST_INFERENCES, words: int = MOST_WORDS
    ) -> None:
        encoding = tokenizer.encode(text)
        self._ids = np.array(encoding.ids, dtype=np.int64)
        self._mask = mask_id(tokenizer)
        self._groups = _groups(encoding, words)
        self.cut = bool(encoding.overflowing)
        self.words = [_text_of(group, encoding, text) for group in self._groups]
        self.plan = plan(len(self._groups), inferences)

    @property
    def rows(self) -> list[Tokens]:
        """The token sequences to compute, one for each set of words."""
        rows = []
        for present in self.plan.sets:
            ids = self._ids.copy()
            for group, there in zip(self._groups, present, strict=True):
                if not there:
                    ids[group] = self._mask
            rows.append(Tokens(ids.tolist()))
        return rows

    def answer(self, logits: npt.ArrayLike) -> Explanation:
        """The explanation, from the logits of `rows`, shape (rows, classes)."""
        values = np.asarray(logits, dtype=np.float64)
        estimates = self.plan.weights @ values
        count = len(estimates)
        exact = count == 1 and len(values) == 2 ** len(self.words)
        spread = estimates.std(axis=0, ddof=1) if count > 1 else np.full(estimates.shape[1:], 0.0 if exact else np.nan)
        return Explanation(
            words=self.words,
            attributions=estimates.mean(axis=0),
            errors=spread / np.sqrt(count),
            logits=values[-1],
            baseline=values[0],
            inferences=len(values),
            cut=self.cut,
        )


def explain(
    text: str, tokenizer: Tokenizer, logits: Callable[[Sequence[Tokens]], npt.ArrayLike], **bounds: int
) -> Explanation:
    """Explain one text.

    Args:
        text: the text.
        tokenizer: of the model.
        logits: gives shape (rows, classes) for a batch of token sequences.
        bounds: `inferences` and `words`, as for `Question`.

    Raises:
        BadInput: see `Question`.
    """
    question = Question(text, tokenizer, **bounds)
    return question.answer(logits(question.rows))


def plan(words: int, inferences: int = MOST_INFERENCES, seed: int = SEED) -> Plan:
    """The sets of words to compute for their Shapley values: all if those are few enough, else some by random orders.

    Args:
        words: number of words.
        inferences: number of sets at most, unless two orders take more.
        seed: of the orders.
    """
    if 2**words <= inferences:
        return _exact(words)
    orders = np.random.default_rng(seed)
    pairs = max(1, inferences // (2 * words))
    chains = [_chains(orders.permutation(words)) for _ in range(pairs)]
    every = np.concatenate([*chains, np.zeros((1, words), bool), np.ones((1, words), bool)])
    sets, places = np.unique(every, axis=0, return_inverse=True)
    weights = np.zeros((pairs, words, len(sets)))
    for pair, where in enumerate(places[: pairs * 2 * (words + 1)].reshape(pairs, 2, words + 1)):
        for chain in where:
            for before, after in zip(chain, chain[1:], strict=False):
                word = np.flatnonzero(sets[after] & ~sets[before])
                weights[pair, word, after] += 0.5
                weights[pair, word, before] -= 0.5
    return Plan(sets, weights)


def _exact(words: int) -> Plan:
    if words == 0:
        return Plan(np.zeros((1, 0), bool), np.zeros((1, 0, 1)))
    numbers = np.arange(2**words)
    sets = (numbers[:, None] >> np.arange(words) & 1).astype(bool)
    sizes = sets.sum(axis=1)
    share = np.array([factorial(size) * factorial(words - size - 1) / factorial(words) for size in range(words)])
    gains = share[np.maximum(sizes - 1, 0)][:, None] * sets
    losses = share[np.minimum(sizes, words - 1)][:, None] * ~sets
    return Plan(sets, (gains - losses).T[None])


def _chains(order: npt.NDArray[np.int64]) -> Sets:
    """The sets as words are revealed in an order, then those of its reverse, shape (2 * (words + 1), words)."""
    steps = np.arange(len(order) + 1)[:, None]
    ranks = np.argsort(order)
    return np.concatenate([ranks < steps, (len(order) - 1 - ranks) < steps])


def mask_id(tokenizer: Tokenizer) -> int:
    """The token that stands for a word that is not there.

    Raises:
        BadInput: the vocabulary has none of `MASKS`.
    """
    for name in MASKS:
        number = tokenizer.token_to_id(name)
        if number is not None:
            return int(number)
    raise BadInput(f"the tokenizer knows none of {', '.join(MASKS)}, so no word can be masked to explain the model")


def _groups(encoding: Encoding, most: int) -> list[list[int]]:
    """Positions of the tokens of each word; special tokens belong to none, and are always there."""
    words: dict[int, list[int]] = {}
    for position, word in enumerate(encoding.word_ids):
        if word is not None:
            words.setdefault(word, []).append(position)
    groups = list(words.values())
    if len(groups) <= most:
        return groups
    edges = np.linspace(0, len(groups), most + 1).astype(int)
    return [sum(groups[start:end], []) for start, end in zip(edges, edges[1:], strict=False)]


def _text_of(group: list[int], encoding: Encoding, text: str) -> str:
    """What stands in the text at these tokens."""
    return text[encoding.offsets[group[0]][0] : encoding.offsets[group[-1]][1]].strip()
