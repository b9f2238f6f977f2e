"""The one-standard-error rule, and the report about it."""

import pytest

from slipway.components.select_model import report
from slipway.components.select_model.choice import (
    MOST_PACKED,
    compared,
    difference_error,
    one_standard_error,
    packed,
    summarise,
    unpacked,
)
from slipway.components.select_model.result import FoldScore, SelectModelResult, Summary

Scored = tuple[Summary, list[FoldScore]]


def candidate(
    name: str,
    scores: list[float],
    parameters: int = 10,
    tokens: int = 300,
    seconds: float = 1,
    right: str = "",
    simple: float | None = None,
) -> Scored:
    folds = [
        FoldScore(
            candidate=name,
            fold=fold,
            macro_f1=score,
            accuracy=score,
            seconds=seconds,
            parameters=parameters,
            tokens=tokens // len(scores),
            right=right,
            linear_probe=simple,
            tfidf=simple,
        )
        for fold, score in enumerate(scores)
    ]
    return summarise(name, {"layers": 3}, folds), folds


def all_compared(*candidates: Scored) -> list[Summary]:
    return compared([summary for summary, _ in candidates], [folds for _, folds in candidates])


def test_a_candidate_is_summed_up_over_its_folds() -> None:
    summary, _ = candidate("a", [0.7, 0.8, 0.9], seconds=2, simple=0.6)
    assert summary.mean == pytest.approx(0.8)
    assert summary.deviation == pytest.approx(0.1)
    assert summary.standard_error == pytest.approx(0.1 / 3**0.5)
    assert (summary.seconds, summary.tokens) == (2, 300)
    assert summary.linear_probe == summary.tfidf == pytest.approx(0.6)


BEST = [0.80, 0.90, 1.00]
NEAR = [0.80, 0.88, 1.00]  # behind by 0.007, with a standard error of 0.007
WORSE = [0.76, 0.87, 0.97]  # behind by 0.033 in every fold, with a standard error of 0.003


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([candidate("small, as good", NEAR, parameters=5)], 1),
        ([candidate("small, worse in every fold", WORSE, parameters=5)], 0),
        ([candidate("large, as good", NEAR, parameters=20)], 0),
        ([candidate("shorter training", NEAR, tokens=150)], 1),
        ([candidate("same cost, slower machine", NEAR, seconds=9)], 0),
        ([candidate("small", NEAR, parameters=5), candidate("smaller", NEAR, parameters=4)], 2),
        ([candidate("equal", BEST)], 0),
    ],
    ids=lambda value: " and ".join(item[0].name for item in value) if isinstance(value, list) else "",
)
def test_the_cheapest_within_one_standard_error_of_the_difference_is_chosen(others: list[Scored], chosen: int) -> None:
    choice = one_standard_error(all_compared(candidate("best", BEST), *others))
    assert choice.best == 0
    assert choice.chosen == chosen


def test_a_small_difference_in_every_fold_counts_although_the_folds_vary_more() -> None:
    best, worse = all_compared(candidate("best", BEST), candidate("worse", WORSE, parameters=5))
    assert best.standard_error > best.mean - worse.mean, "as the rule without pairs would see it"
    assert worse.behind == pytest.approx(0.1 / 3)
    assert worse.behind_error == pytest.approx(0.0033, abs=1e-4)
    assert (best.as_good, worse.as_good) == (True, False)


def test_the_error_is_that_of_the_texts_when_the_folds_agree_by_chance() -> None:
    _, one = candidate("one", [0.5, 0.5, 0.5], right=packed([True, True, False, False]))
    _, other = candidate("other", [0.5, 0.5, 0.5], right=packed([True, False, True, False]))
    assert difference_error(one, other) == pytest.approx((0.5 / 12) ** 0.5)
    assert difference_error(one, one) == 0


def test_answers_are_passed_on_in_few_characters() -> None:
    right = [False, False, True, True, False] * 1000
    assert unpacked(packed(right)) == right[:MOST_PACKED]
    assert len(packed(right)) == 501
    assert unpacked("") == []


def result(*scored: Scored) -> SelectModelResult:
    candidates = all_compared(*scored)
    picked = one_standard_error(candidates)
    return SelectModelResult(
        compared=True,
        chosen=candidates[picked.chosen].name,
        choice={},
        best=candidates[picked.best].name,
        candidates=candidates,
        folds=3,
        texts=600,
        few=["<rare>"],
        least_texts=2,
    )


def test_the_report_says_which_was_chosen_and_why() -> None:
    html = report.section(result(candidate("best", BEST, simple=0.5), candidate("small", NEAR, parameters=5)))
    assert "small is the cheapest candidate within one standard error of the best, best" in html
    assert "<tr class=chosen><td>small</td><td class=numbers>0.893</td>" in html
    assert "0.007 ± 0.007" in html
    assert "<td>baseline: TF-IDF, logistic regression</td><td class=numbers>0.500</td>" in html
    assert "The rarest class had 2 texts: too few to judge by" in html
    assert "not in every fold: &lt;rare&gt;" in html
    assert "<svg" in html


def test_the_report_of_a_single_candidate_says_that_nothing_was_compared() -> None:
    only = SelectModelResult(compared=False, chosen="settings of train", choice={}, candidates=[], few=[])
    assert "one candidate, settings of train, so nothing was compared" in report.section(only)
    assert report.scalars(only) == {}
