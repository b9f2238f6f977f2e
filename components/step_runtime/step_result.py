"""What a step hands on, as a form: its fields are those of its JSON in `results.json` and in the record of the run.

A form is read wherever a file is read, and everything behind that works on fields. Runs of earlier and later versions
stay readable: a field that a form does not know is ignored, and one that came later than the form has a default.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from slipway.components.errors import BadInput

Json = dict[str, JsonValue]
"""A JSON object."""

Results = dict[str, Json]
"""The results of a run as they travel: step name to what the step returned."""


class ResultPart(BaseModel):
    """A part of a result. The text below a field is its description in the schema, and says its unit."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), use_attribute_docstrings=True)


class StepResult(ResultPart):
    """What one step returns."""

    step: ClassVar[str]
    """The step's name, under which the result is in the results of a run."""

    def to_json(self) -> Json:
        """Plain JSON, with the fields that were given."""
        plain: Json = self.model_dump(mode="json", exclude_unset=True)
        return plain

    @classmethod
    def found_in(cls, results: Mapping[str, Any]) -> Self | None:
        """This step's result among those of a run; None when the step left none.

        Args:
            results: plain JSON, as read from a file.

        Raises:
            BadInput: it is not such a result.
        """
        if not (found := results.get(cls.step)):
            return None
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, (cls.step, *first["loc"])))
            raise BadInput(
                f"the results of this run cannot be read ({field}: {first['msg']}); were they written by another "
                "version of Slipway? Run again, or look with that version"
            ) from error


def number(values: Mapping[str, JsonValue], name: str) -> float:
    """A number among settings that came with a result.

    Raises:
        BadInput: it is no number, or missing.
    """
    value = values.get(name)
    if not isinstance(value, int | float):
        raise BadInput(f"the results of this run have the setting {name}={value!r}; expected a number")
    return value
