"""What the report says of a training: its baselines, and the texts that were cut."""

from typing import Any

import pytest

from slipway.components.evaluate import report as evaluation
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.register.card import _cut
from slipway.components.train import report
from slipway.components.train.result import TrainResult
from tests.components import step_results


def result(**changes: Any) -> TrainResult:
    return TrainResult.model_validate(step_results.train() | changes)


def test_the_baselines_stand_below_the_model() -> None:
    page = report.section(result())
    assert "<td>this model</td><td class=numbers>0.940</td>" in page
    assert "<td>baseline: linear probe</td><td class=numbers>0.910</td>" in page
    assert "<td>baseline: TF-IDF</td><td class=numbers>0.810</td>" in page
    assert report.scalars(result())["linear_probe_macro_f1"] == 0.91


@pytest.mark.parametrize(
    ("cut", "words", "kind"),
    [
        ({"train": 156, "validation": 12, "test": 0}, "156 of 156 train texts, 12 of 40 validation texts.", "bad"),
        ({"train": 1, "validation": 0, "test": 0}, "1 of 156 train texts.", "neutral"),
        ({"train": 0, "validation": 0, "test": 0}, "", ""),
    ],
)
def test_cut_texts_are_counted_and_many_of_them_are_a_warning(cut: dict[str, int], words: str, kind: str) -> None:
    found = "".join(report._cut(result(texts_cut=cut)))
    assert words in found
    assert f'class="notice {kind}"' in found or not kind
    assert ("Raise train.max_length" in found) == (kind == "bad")


def test_the_model_card_says_how_many_texts_are_longer() -> None:
    assert _cut(result()) == ", as it was in 168 of 246 texts of the data"
    assert _cut(None) == _cut(result(texts_cut={}, texts_read={})) == ""


def test_a_result_of_an_earlier_release_shows_its_best_epoch() -> None:
    earlier = {name: value for name, value in step_results.train().items() if name not in ("best_update", "baselines")}
    page = report.section(TrainResult.model_validate(earlier | {"best_epoch": 3}))
    assert "120 (best)" in page
    assert "baseline" not in page


def test_the_test_scores_of_the_baselines_stand_below_the_challenger() -> None:
    labels = ["billing", "delivery"]
    baselines = step_results.train()["baselines"]
    shown = evaluation._baselines(
        EvaluateResult.model_validate(step_results.evaluate(labels) | {"baselines": baselines})
    )
    assert "<td>challenger</td>" in shown[0]
    assert "<td>baseline: TF-IDF</td><td class=numbers>0.800</td>" in shown[0]
    assert evaluation._baselines(EvaluateResult.model_validate(step_results.evaluate(labels))) == []
