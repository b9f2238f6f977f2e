"""Attributions of words: they sum to what the method promises, and are those that Captum finds on the same model."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from captum.attr import ShapleyValues, ShapleyValueSampling
from tokenizers import Tokenizer, models

from slipway.components.artifacts.bundle import MODEL
from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.compress.quantise import quantise_dynamically
from slipway.components.errors import BadInput
from slipway.components.explanation.shapley import Explanation, Question, Tokens, explain, mask_id, plan

SHORT = "parcel was late"
MIDDLE = "parcel was late again the courier lost the invoice"
LONG = f"please help my {MIDDLE} today"


class Checkpoint:
    """The torch model of the checkpoint as a function of token ids; the words of a text as Captum's feature mask."""

    def __init__(self, folder: Path) -> None:
        self.model, tokenizer, _ = load_checkpoint(folder)
        self.model.train(False)
        self.tokenizer = tokenizer.backend_tokenizer

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return logits

    def rows(self, rows: Sequence[Tokens]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = self(torch.tensor([row.ids for row in rows])).numpy()
        return logits

    def captum(self, method: type, text: str, index: int, **options: int) -> npt.NDArray[np.float64]:
        """Captum's attribution of each word to a class; special tokens are a feature that never changes."""
        encoding = self.tokenizer.encode(text)
        words = [-1 if word is None else word for word in encoding.word_ids]
        ids = torch.tensor([encoding.ids])
        features = torch.tensor([words]) + 1
        baseline = torch.where(features == 0, ids, mask_id(self.tokenizer))
        found = method(self).attribute(ids, baseline, target=index, feature_mask=features, **options)
        return np.array([found[0, words.index(word)].item() for word in range(max(words) + 1)])


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    torch.manual_seed(1)
    return Checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def int8(draft_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("int8") / "bundle"
    folder.mkdir()
    for path in draft_bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    quantise_dynamically(draft_bundle / MODEL, folder / MODEL)
    return Classifier(folder)


def gap(explanation: Explanation) -> float:
    """How far the attributions are from summing to logit(text) - logit(baseline), over all classes."""
    sums = explanation.attributions.sum(axis=0) - (explanation.logits - explanation.baseline)
    return float(np.abs(sums).max())


@pytest.mark.parametrize("text", ["", "parcel", SHORT, LONG, LONG * 4])
def test_attributions_sum_to_the_logit_minus_that_of_the_masked_text(int8: Classifier, text: str) -> None:
    explanation = explain(text, int8.tokenizer, int8.run)
    assert gap(explanation) < 1e-9
    np.testing.assert_allclose(explanation.logits, int8.logits([text])[0], atol=0.1)  # int8 activations: batch matters


def test_the_words_of_a_topic_speak_for_it_on_an_int8_model(int8: Classifier) -> None:
    told: Any = explain("please help the parcel is late again not", int8.tokenizer, int8.run).to_json(1, "delivery")
    ranked = sorted(zip(told["attributions"], told["words"], strict=True), reverse=True)
    assert {word for _, word in ranked[:2]} == {"parcel", "late"}
    assert sum(told["attributions"]) == pytest.approx(told["logit"] - told["baseline"])


def test_captum_finds_the_same_shapley_values_where_they_are_exact(checkpoint: Checkpoint) -> None:
    ours = explain(SHORT, checkpoint.tokenizer, checkpoint.rows)
    assert ours.words == ["parcel", "was", "late"]
    for index in range(3):
        theirs = checkpoint.captum(ShapleyValues, SHORT, index)
        np.testing.assert_allclose(ours.attributions[:, index], theirs, atol=1e-4)
    assert not ours.errors.any()


def test_captums_samples_and_ours_are_near_the_exact_values(checkpoint: Checkpoint) -> None:
    torch.manual_seed(1)
    exact = explain(MIDDLE, checkpoint.tokenizer, checkpoint.rows, inferences=2**9).attributions[:, 1]
    theirs = checkpoint.captum(ShapleyValueSampling, MIDDLE, 1, n_samples=200, perturbations_per_eval=1)
    ours = explain(MIDDLE, checkpoint.tokenizer, checkpoint.rows, inferences=300)
    assert np.abs(exact).max() > 1  # much beside the tolerance
    np.testing.assert_allclose(theirs, exact, atol=0.4)
    assert (np.abs(ours.attributions[:, 1] - exact) < 4 * ours.errors[:, 1] + 0.01).all()


@pytest.mark.parametrize("words", [1, 2, 4])
def test_exact_values_are_the_mean_over_all_orders(words: int) -> None:
    asked = plan(words)
    values = np.random.default_rng(words).normal(size=len(asked.sets))
    lookup = {tuple(row): value for row, value in zip(asked.sets.tolist(), values, strict=True)}
    gains = np.zeros(words)
    orders = list(permutations(range(words)))
    for order in orders:
        present = [False] * words
        for word in order:
            before = lookup[tuple(present)]
            present[word] = True
            gains[word] += (lookup[tuple(present)] - before) / len(orders)
    np.testing.assert_allclose(asked.weights[0] @ values, gains)


def test_sampled_values_come_with_errors_that_cover_the_exact_ones() -> None:
    """Of a function with interactions; the exact values are those of the full plan."""
    random = np.random.default_rng(3)
    pairwise = random.normal(size=(10, 10))

    def values(sets: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = np.einsum("si,ij,sj->s", sets, pairwise, sets) ** 2
        return found

    full, some = plan(10, 2**10), plan(10, 400)
    exact = full.weights[0] @ values(full.sets)
    estimates = some.weights @ values(some.sets)
    errors = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    assert len(some.sets) <= 400
    assert (np.abs(estimates.mean(axis=0) - exact) < 4 * errors).all()


def test_the_same_text_has_the_same_explanation(int8: Classifier) -> None:
    first, second = (explain(LONG, int8.tokenizer, int8.run) for _ in range(2))
    np.testing.assert_array_equal(first.attributions, second.attributions)


def test_a_long_text_costs_no_more_and_its_neighbouring_words_share_an_attribution(int8: Classifier) -> None:
    question = Question(LONG, int8.tokenizer, inferences=100, words=4)
    assert question.words == ["please help my", "parcel was late", "again the courier", "lost the invoice today"]
    assert len(question.rows) == 16
    assert all(len(row) == len(question.rows[0]) for row in question.rows)


def test_words_that_the_model_does_not_read_have_no_part_and_it_is_said(int8: Classifier) -> None:
    most = int8.bundle.info.max_length - 2  # two special tokens
    told = explain("help " * (most + 1), int8.tokenizer, int8.run)
    assert (len(told.words), told.cut) == (most, True)
    assert not explain("help " * most, int8.tokenizer, int8.run).cut


def test_words_are_those_of_the_text_not_of_the_vocabulary(int8: Classifier) -> None:
    assert Question("Parcel, Xyzzy!", int8.tokenizer).words == ["Parcel", ",", "Xyzzy", "!"]


def test_a_tokenizer_without_a_token_for_missing_words_is_refused() -> None:
    with pytest.raises(BadInput, match=r"knows none of \[MASK\]"):
        mask_id(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
