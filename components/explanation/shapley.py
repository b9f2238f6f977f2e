"""Explains a prediction by Shapley values of the text's words, for any function from tokens to logits.

The value of a set of words is the logit of a class when all other words are replaced by the mask token. The Shapley
value of a word (Shapley 1953; for explanations Lundberg and Lee, NeurIPS 2017) is what it adds to this on average over
all orders in which the words can be revealed. For few words it is computed over all sets. For more it is estimated
from random orders (Castro, Gómez and Tejada, Computers & Operations Research 36, 2009), each taken forwards and
backwards (antithetic sampling; Mitchell, Cooper, Frank and Holmes, JMLR 23, 2022).

In both cases the attributions of a text sum to logit(text) - logit(text with every word masked), since the
contributions within one order telescope. No gradients are needed, so an int8 model can be explained like its teacher.
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
"""Most inferences for one text, unless a single order of its words and its reverse take more."""
MOST_WORDS = 64
"""Most words with an attribution of their own; in a longer text neighbouring words share one."""
SEED = 13
"""Seed of the random orders, so that the same text always gets the same explanation."""
MASKS = ("[MASK]", "<mask>", "[UNK]", "<unk>", "[PAD]", "<pad>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>")
"""Tokens that can replace a missing word, in order of preference, by their names in common vocabularies. Decoders have
none but the end of a text.
"""


@dataclass(frozen=True)
class Tokens:
    """Token ids of one inference; classifiers accept it in place of an `Encoding`."""

    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Plan:
    """The sets of words whose logits are needed, and the weights that turn these logits into attributions."""

    sets: Sets
    """Which words are present, shape (sets, words). The first row has no words, the last row has all."""
    weights: Numbers
    """Shape (estimates, words, sets). Each estimate of the attributions is its matrix times the logits."""


@dataclass(frozen=True)
class Explanation:
    """Attributions of one text."""

    words: list[str]
    """The words, or groups of neighbouring words, as they stand in the text."""
    attributions: Numbers
    """What each word adds to the logit of each class, shape (words, classes)."""
    errors: Numbers
    """Standard errors of the attributions, same shape; 0 where they are exact, NaN with a single estimate."""
    logits: Numbers
    """Logits of the text, shape (classes,)."""
    baseline: Numbers
    """Logits with every word masked, shape (classes,)."""
    inferences: int
    """Number of token sequences that were computed."""
    cut: bool
    """Whether the text is longer than what the model reads."""

    def of_class(self, index: int, label: str) -> ClassExplanation:
        """The explanation of one class.

        Args:
            index: of the class.
            label: name of the class.
        """
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
        """`of_class` as plain JSON."""
        document: dict[str, JsonValue] = self.of_class(index, label).model_dump(mode="json", exclude_unset=True)
        return document


class Question:
    """The inferences that explain one text. The caller computes the logits of `rows` and passes them to `answer`.

    Args:
        text: the text.
        tokenizer: of the model, with its truncation set; words that are cut off get no attribution.
        inferences: most inferences; see `plan`.
        words: most attributions; in a longer text neighbouring words share one.

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
            for group, is_present in zip(self._groups, present, strict=True):
                if not is_present:
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
        logits: returns logits of shape (rows, classes) for a batch of token sequences.
        bounds: `inferences` and `words`, as for `Question`.

    Raises:
        BadInput: the tokenizer has no token that can stand for a missing word.
    """
    question = Question(text, tokenizer, **bounds)
    return question.answer(logits(question.rows))


def plan(words: int, inferences: int = MOST_INFERENCES, seed: int = SEED) -> Plan:
    """The sets of words to compute for their Shapley values: all sets if few enough, else those of random orders.

    Args:
        words: number of words.
        inferences: most sets, unless one order and its reverse take more.
        seed: of the random orders.
    """
    if 2**words <= inferences:
        return _exact(words)
    random = np.random.default_rng(seed)
    pairs = max(1, inferences // (2 * words))
    chains = [_chains(random.permutation(words)) for _ in range(pairs)]
    repeated = np.concatenate([*chains, np.zeros((1, words), bool), np.ones((1, words), bool)])
    # Orders share sets, and each is computed once. The rows are sorted, so no words come first and all words last.
    sets, indices = np.unique(repeated, axis=0, return_inverse=True)
    weights = np.zeros((pairs, words, len(sets)))
    for pair, both_orders in enumerate(indices[: pairs * 2 * (words + 1)].reshape(pairs, 2, words + 1)):
        for chain in both_orders:
            for before, after in zip(chain, chain[1:], strict=False):
                word = np.flatnonzero(sets[after] & ~sets[before])
                weights[pair, word, after] += 0.5
                weights[pair, word, before] -= 0.5
    return Plan(sets, weights)


def _exact(words: int) -> Plan:
    """All sets of words, with the weights of the definition of Shapley values."""
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
    """The sets that appear as words are revealed in an order, then in its reverse; shape (2 * (words + 1), words)."""
    steps = np.arange(len(order) + 1)[:, None]
    ranks = np.argsort(order)
    return np.concatenate([ranks < steps, (len(order) - 1 - ranks) < steps])


def mask_id(tokenizer: Tokenizer) -> int:
    """The id of the token that replaces a missing word.

    Raises:
        BadInput: the vocabulary has none of `MASKS`.
    """
    for name in MASKS:
        number = tokenizer.token_to_id(name)
        if number is not None:
            return int(number)
    raise BadInput(f"the tokenizer knows none of {', '.join(MASKS)}, so no word can be masked to explain the model")


def _groups(encoding: Encoding, most: int) -> list[list[int]]:
    """Positions of the tokens of each word or group of words; special tokens are in no group, and always present."""
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
    """The part of the text that these tokens cover."""
    return text[encoding.offsets[group[0]][0] : encoding.offsets[group[-1]][1]].strip()
