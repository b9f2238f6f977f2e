"""The linear probe, the start of the head from it, and the baselines beside a training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.linear_model import LogisticRegression

from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.learning import linear_probe
from slipway.components.learning.baselines import Baseline, found_in, scored, tfidf_answers
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.evaluation import predict_logits
from slipway.components.learning.optimisation import build_model
from slipway.components.learning.settings import TrainSettings
from tests.components.learning.test_optimisation import FAMILIES
from tests.components.present import present

DRAWN = np.random.default_rng(3)
POINTS = DRAWN.normal(size=(90, 5)).astype(np.float32) + 4
CLASSES = (POINTS[:, 0] > 4).astype(np.int64) + (POINTS[:, 1] > 4.5)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_is_the_logistic_regression_of_scikit_learn(balanced: bool) -> None:
    weights = torch.tensor([90 / (3 * count) for count in np.bincount(CLASSES).tolist()]) if balanced else None
    found = linear_probe.fitted(torch.from_numpy(POINTS), CLASSES, 3, weights)
    scale = np.linalg.norm(POINTS - POINTS.mean(axis=0), axis=1).mean()
    known = LogisticRegression(
        C=linear_probe.INVERSE_PENALTY, tol=1e-8, max_iter=1000, class_weight="balanced" if balanced else None
    ).fit((POINTS - POINTS.mean(axis=0)) / scale, CLASSES)
    assert (found.predicted(torch.from_numpy(POINTS)) == known.predict((POINTS - POINTS.mean(axis=0)) / scale)).all()
    assert np.allclose(found.weight * scale, known.coef_, atol=0.02)


def encoder_of(family: str, tiny_encoder: Path, folder: Path) -> Path:
    if family == "bert":
        return tiny_encoder
    tokenizer = load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(folder)
    FAMILIES[family](len(tokenizer)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["bert", *FAMILIES])
def test_a_head_that_starts_from_the_probe_answers_as_the_probe(
    family: str, tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    encoder, accelerator = encoder_of(family, tiny_encoder, tmp_path), Accelerator(cpu=True)
    model = build_model(TrainSettings(encoder=str(encoder), max_length=32), small_dataset.labels)
    texts = EncodedTexts(small_dataset.texts("train"), small_dataset.label_ids("train"), load_tokenizer(encoder), 32)
    head, probe = present(linear_probe.of_texts(model, texts, accelerator))
    before = head.weight.clone()
    wanted = probe.predicted(linear_probe.features(model, head, texts, accelerator))
    assert torch.equal(head.weight, before), "asking does not change the model"
    probe.put_into(head)
    given = predict_logits(model, texts, accelerator).argmax(dim=1).numpy()
    assert np.mean(given == wanted) > 0.98
    assert np.mean(given == texts.label_ids) > 0.4, "the weights of the encoder are random"


def test_tf_idf_knows_the_topics_and_takes_an_empty_split(small_dataset: TextDataset) -> None:
    texts, label_ids = small_dataset.texts("train"), small_dataset.label_ids("train")
    answers = tfidf_answers(texts, label_ids, [small_dataset.texts("validation"), []])
    truths = [small_dataset.label_ids("validation"), np.zeros(0, dtype=np.int64)]
    found = scored("TF-IDF", truths, answers)
    assert found.macro_f1 > 0.9
    assert found.test_macro_f1 is None


def test_baselines_are_found_in_the_results_of_a_run_and_earlier_results_have_none() -> None:
    baseline = Baseline(name="TF-IDF", macro_f1=0.5, accuracy=0.6, test_macro_f1=0.4, test_accuracy=0.5)
    assert found_in({"train": {"baselines": [baseline.model_dump()]}}) == [baseline]
    assert found_in({"train": {}}) == found_in({}) == []
