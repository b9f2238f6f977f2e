"""The one-standard-error rule, and the report about it."""

import pytest

from slipway.components.select_model import report
from slipway.components.select_model.choice import one_standard_error, summarise
from slipway.components.select_model.result import FoldScore, SelectModelResult, Summary


def candidate(name: str, scores: list[float], parameters: int = 10, tokens: int = 300, seconds: float = 1) -> Summary:
    folds = [
        FoldScore(
            candidate=name,
            fold=fold,
            macro_f1=score,
            accuracy=score,
            seconds=seconds,
            parameters=parameters,
            tokens=tokens // len(scores),
        )
        for fold, score in enumerate(scores)
    ]
    return summarise(name, {"layers": 3}, folds)


def test_a_candidate_is_summed_up_over_its_folds() -> None:
    summary = candidate("a", [0.7, 0.8, 0.9], seconds=2)
    assert summary.mean == pytest.approx(0.8)
    assert summary.deviation == pytest.approx(0.1)
    assert summary.standard_error == pytest.approx(0.1 / 3**0.5)
    assert (summary.seconds, summary.tokens) == (2, 300)


BEST = [0.80, 0.90, 1.00]  # mean 0.9, standard error 0.058


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([candidate("small, as good", [0.86, 0.86, 0.86], parameters=5)], 1),
        ([candidate("small, worse", [0.83, 0.83, 0.83], parameters=5)], 0),
        ([candidate("large, as good", [0.86, 0.86, 0.86], parameters=20)], 0),
        ([candidate("shorter training", [0.86, 0.86, 0.86], tokens=150)], 1),
        ([candidate("same cost, slower machine", [0.88, 0.88, 0.88], seconds=9)], 0),
        ([candidate("small", [0.86] * 3, parameters=5), candidate("smaller", [0.85] * 3, parameters=4)], 2),
        ([candidate("equal", BEST)], 0),
    ],
    ids=lambda value: " and ".join(item.name for item in value) if isinstance(value, list) else "",
)
def test_the_cheapest_within_one_standard_error_of_the_best_is_chosen(others: list[Summary], chosen: int) -> None:
    choice = one_standard_error([candidate("best", BEST), *others])
    assert choice.best == 0
    assert choice.chosen == chosen
    assert choice.threshold == pytest.approx(0.9 - 0.1 / 3**0.5)


def result(*candidates: Summary) -> SelectModelResult:
    picked = one_standard_error(candidates)
    return SelectModelResult(
        compared=True,
        chosen=candidates[picked.chosen].name,
        choice={},
        best=candidates[picked.best].name,
        threshold=picked.threshold,
        candidates=list(candidates),
        folds=3,
        texts=600,
        few=["<rare>"],
    )


def test_the_report_says_which_was_chosen_and_why() -> None:
    html = report.section(result(candidate("best", BEST), candidate("small", [0.86, 0.87, 0.86], parameters=5)))
    assert "small is the cheapest candidate within one standard error of the best mean, that of best" in html
    assert "<tr class=chosen><td>small</td><td class=numbers>0.863</td><td class=numbers>0.006</td>" in html
    assert "not in every fold: &lt;rare&gt;" in html
    assert "<svg" in html


def test_the_report_of_a_single_candidate_says_that_nothing_was_compared() -> None:
    only = SelectModelResult(compared=False, chosen="settings of train", choice={}, candidates=[], few=[])
    assert "one candidate, settings of train, so nothing was compared" in report.section(only)
    assert report.scalars(only) == {}
