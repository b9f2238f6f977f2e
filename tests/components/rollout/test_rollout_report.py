"""The report's section says what was decided, whatever the outcome."""

from typing import Any

import pytest

from slipway.components.rollout import report
from tests.components.rollout.world import Behaviour, NewWorld


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        ({}, {}, ["Promoted", "no worse", "probes were replayed", "margin 5"]),
        ({"latency_ms": 140.0}, {}, ["Rolled back", "Slow answers: worse"]),
        ({"refuses": True}, {}, ["Rolled back", "BundleRefused"]),
        ({}, {"first": True}, ["Promoted", "is the first to be served here"]),
        ({"wrong": 0.06}, {"max_accuracy_drop": 0.07}, ["Held", "undecided"]),
    ],
)
def test_the_section_tells_the_outcome_and_its_evidence(
    world: NewWorld, behaviour: type[Behaviour], script: dict[str, Any], options: dict[str, Any], words: list[str]
) -> None:
    section = report.section(world(behaviour(**script), **options).run())
    for expected in words:
        assert expected in section


def test_the_section_of_a_champion_is_one_sentence(world: NewWorld) -> None:
    here = world()
    here.run()
    assert "serves all traffic already" in report.section(here.run())


def test_words_of_a_revision_are_no_markup(world: NewWorld, behaviour: type[Behaviour]) -> None:
    result = world(behaviour(refuses=True)).run()
    assert "<script>" not in report.section(result.model_copy(update={"reason": "<script>"}))
