"""The Population Stability Index, its level without drift, and the reference that a bundle carries."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from slipway.components.artifacts.bundle import Bundle, updated_info, write_info
from slipway.components.artifacts.drift_reference import (
    Features,
    counted,
    index_by_chance,
    reference_of,
    stability_index,
)
from slipway.components.artifacts.onnx_classifier import Classifier


def test_the_index_is_that_of_a_case_worked_by_hand() -> None:
    # shares 0.5, 0.3, 0.2 and 0.4, 0.4, 0.2: 0.1 ln(0.5/0.4) + 0.1 ln(0.4/0.3); the counts drown the smoothing
    by_hand = 0.1 * math.log(0.5 / 0.4) + 0.1 * math.log(0.4 / 0.3)
    assert stability_index([500_000, 300_000, 200_000], [400_000, 400_000, 200_000]) == pytest.approx(by_hand, rel=1e-4)


def test_the_index_of_equal_shares_is_none_and_an_empty_bin_is_no_infinity() -> None:
    assert stability_index([50, 30, 20], [50, 30, 20]) == 0
    assert 1 < stability_index([100, 0], [50, 50]) < math.inf


@pytest.mark.parametrize(("reference_texts", "texts"), [(300, 2000), (300, 100), (2000, 500)])
def test_without_drift_the_index_exceeds_its_level_by_chance_about_once_in_100(
    reference_texts: int, texts: int
) -> None:
    chance = np.random.default_rng(5)
    shares = [0.1] * 10
    cases = [
        (chance.multinomial(reference_texts, shares).tolist(), chance.multinomial(texts, shares).tolist())
        for _ in range(4000)
    ]
    above = np.mean([stability_index(*case) > index_by_chance(case[0], texts) for case in cases])
    assert 0.003 < above < 0.025


def test_bins_close_at_their_upper_bound() -> None:
    assert counted([1, 2], np.array([0.5, 1.0, 1.5, 2.0, 2.5, 99.0])) == [2, 2, 2]


def test_unknown_tokens_are_counted_whatever_the_tokenizer_calls_them() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<what>": 0, "known": 1}, unk_token="<what>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = ["known known", "known new", "new", ""]
    values = Features(tokenizer)(texts, tokenizer.encode_batch(texts), np.ones((4, 2), np.float32))
    assert values["unknown"].tolist() == [0, 0.5, 1, 0]


def test_a_bundle_keeps_its_reference(draft_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(draft_bundle, tmp_path / "bundle")
    classifier = Classifier(tmp_path / "bundle")
    texts = [f"my parcel number {number} is late " * (number % 7 + 1) for number in range(60)] + ["日本語"]
    reference = reference_of(classifier, texts)
    assert {name: sum(bins.counts) for name, bins in reference.items()} == dict.fromkeys(
        ("label", "confidence", "length", "unknown"), 61
    )
    assert len(reference["label"].counts) == len(classifier.labels)
    assert all(count > 0 for count in reference["length"].counts)
    write_info(tmp_path / "bundle", updated_info(classifier.bundle.info, reference=reference))
    assert Bundle(tmp_path / "bundle").info.reference == reference
