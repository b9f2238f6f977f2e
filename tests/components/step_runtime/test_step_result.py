"""The form of a step's result: it reads what earlier and later versions wrote, and writes what they can read."""

from typing import Any, ClassVar

import pytest

from slipway.components.errors import BadInput
from slipway.components.step_runtime.step_result import ResultPart, StepResult


class Part(ResultPart):
    value: float
    """In seconds."""
    later: int | None = None
    """It came with a later version."""


class Weighing(StepResult):
    """What a step of this test returns."""

    step: ClassVar[str] = "weighing"

    grams: int
    """Weight, in grams."""
    parts: list[Part] = []
    """What was weighed."""


def test_a_result_is_read_from_its_json_again() -> None:
    result = Weighing(grams=3, parts=[Part(value=0.5)])
    plain = result.to_json()
    assert plain == {"grams": 3, "parts": [{"value": 0.5}]}
    assert Weighing.found_in({"weighing": plain}) == result


def test_what_was_not_given_is_not_written() -> None:
    assert Weighing(grams=3).to_json() == {"grams": 3}
    assert Weighing(grams=3, parts=[]).to_json() == {"grams": 3, "parts": []}


@pytest.mark.parametrize("results", [{}, {"weighing": {}}, {"other": {"grams": 1}}])
def test_a_step_without_a_result_has_none(results: dict[str, Any]) -> None:
    assert Weighing.found_in(results) is None


def test_a_field_of_a_later_version_is_ignored() -> None:
    found = Weighing.found_in({"weighing": {"grams": 3, "litres": 2, "parts": [{"value": 1, "colour": "red"}]}})
    assert found == Weighing(grams=3, parts=[Part(value=1.0)])


def test_a_result_that_cannot_be_read_names_the_field() -> None:
    with pytest.raises(BadInput, match=r"weighing\.parts\.0\.value: Field required.*another version"):
        Weighing.found_in({"weighing": {"grams": 3, "parts": [{"values": 1}]}})


def test_the_schema_describes_each_field() -> None:
    properties = Weighing.model_json_schema()["properties"]
    assert properties["grams"]["description"] == "Weight, in grams."
