"""Texts are normalised alike for training and serving, and twice changes nothing more."""

import asyncio
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.components.artifacts.bundle import Bundle, updated_info, write_info
from slipway.components.artifacts.drift_reference import LENGTH, reference_of
from slipway.components.artifacts.normalisation import Normalisation, clean, name_of, normaliser
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.serving.limits import Limits
from slipway.serving.model.batcher import Batcher
from slipway.serving.model.explainer import Explainer

PIECES = st.lists(
    st.sampled_from(
        ["&amp;", "&", "amp;", "#38;", "lt;", "&#8203;", "&#x26", "\u200b", "e", "\u0301", " ", "\n", "&zwj;"]
    )
)


@settings(max_examples=200, deadline=None)
@given(PIECES.map("".join))
@pytest.mark.parametrize("unescape", [True, False])
def test_a_normalised_text_stays_as_it_is(unescape: bool, text: str) -> None:
    once = clean(text, unescape)
    assert clean(once, unescape) == once


@pytest.mark.parametrize(
    ("text", "plain", "html"),
    [
        ("Gem&#252;se  &amp; mehr", "Gem&#252;se &amp; mehr", "Gemüse & mehr"),
        ("a &amp;lt; b", "a &amp;lt; b", "a < b"),
        ("e\u0301\u0000 x", "é x", "é x"),
        ("", "", ""),
    ],
)
def test_what_each_name_does(text: str, plain: str, html: str) -> None:
    names: list[Normalisation] = ["", name_of(False), name_of(True)]
    assert [normaliser(name)(text) for name in names] == [text, plain, html]


def test_a_text_that_was_escaped_many_times_takes_no_longer() -> None:
    began = time.perf_counter()
    assert clean("&" + "amp;" * 200_000 + "lt;", unescape_html=True) == "<"
    assert time.perf_counter() - began < 2


def test_a_server_reads_a_text_as_the_training_did(draft_bundle: Path, tmp_path: Path) -> None:
    raw, trained = "my par&#99;el is\u200b  late", "my parcel is late"
    shutil.copytree(draft_bundle, tmp_path / "bundle")
    write_info(tmp_path / "bundle", updated_info(Bundle(draft_bundle).info, normalisation="clean-html-1"))
    before, now = Classifier(draft_bundle), Classifier(tmp_path / "bundle")
    batcher = Batcher(now, Limits())
    served = asyncio.run(batcher.probabilities([raw]))
    np.testing.assert_allclose(served, before.probabilities([trained]), atol=1e-6)
    np.testing.assert_allclose(now.probabilities([raw]), served, atol=1e-6)
    assert not np.allclose(before.probabilities([raw]), served, atol=1e-6)
    assert asyncio.run(Explainer(batcher, Limits()).explain([raw]))[0].words == trained.split()
    assert reference_of(now, [raw, trained])[LENGTH] == reference_of(now, [trained] * 2)[LENGTH]
