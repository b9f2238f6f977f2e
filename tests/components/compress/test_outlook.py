"""What the validation split can show of a model, before its lessons and during them."""

import numpy as np
import pytest

from slipway.components.compress.outlook import LEAST_DISAGREEMENT, extrapolated, most_that_can_be_shown
from slipway.components.compress.quality import kept


@pytest.mark.parametrize(
    ("looks", "end"),
    [
        ([(0.0, 0.2)], 1.0),
        ([(0.0, 0.2), (0.25, 0.4)], 1.0),
        ([(0.0, 0.2), (0.25, 0.4), (0.5, 0.6)], 1.0),
        ([(0.0, 0.2), (0.25, 0.8), (0.5, 0.85), (0.75, 0.9)], 0.95),
        ([(0.25, 0.8), (0.5, 0.85), (0.75, 0.8)], 0.8),
        ([(0.25, 0.8), (0.5, 0.85), (1.0, 0.8)], 0.8),
    ],
)
def test_a_bound_goes_on_rising_at_most_as_steeply_as_it_did(looks: list[tuple[float, float]], end: float) -> None:
    assert extrapolated(looks) == pytest.approx(end)


@pytest.mark.parametrize("texts", [100, 400, 2000])
def test_the_most_that_can_be_shown_is_what_the_gate_gives_an_equal_model(texts: int) -> None:
    classes, wrong = 4, round(texts * 0.2)
    truth = np.arange(texts) % classes
    teacher, student = truth.copy(), truth.copy()
    teacher[:wrong] = student[:wrong] = (truth[:wrong] + 1) % classes
    half = round(texts * LEAST_DISAGREEMENT / 2)
    teacher[wrong : wrong + half] = (truth[wrong : wrong + half] + 1) % classes
    student[wrong + half : wrong + 2 * half] = (truth[wrong + half : wrong + 2 * half] + 1) % classes
    most = most_that_can_be_shown(texts, float((teacher == truth).mean()), 0.95)
    assert most == pytest.approx(kept(truth, student, teacher, classes, 0.95).at_least, abs=0.012)
