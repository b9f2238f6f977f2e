"""The base of the result models: a step's result, as it is in `results.json` and in the record of the run.

JSON is validated by a model where it is read, so that all other code works with typed fields. Runs of earlier and later
versions stay readable: a model ignores fields that it does not know, and a field that was added later has a default.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from slipway.components.errors import BadInput

Json = dict[str, JsonValue]
"""A JSON object."""

Results = dict[str, Json]
"""The results of a run as plain JSON: step name to the step's result."""


class ResultPart(BaseModel):
    """A part of a result. The docstring below a field is its description in the schema, and states its unit."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=(), use_attribute_docstrings=True)


class StepResult(ResultPart):
    """What one step returns."""

    step: ClassVar[str]
    """The step's name, under which the result is in the results of a run."""

    def to_json(self) -> Json:
        """The result as plain JSON, with the fields that were set."""
        plain: Json = self.model_dump(mode="json", exclude_unset=True)
        return plain

    @classmethod
    def found_in(cls, results: Mapping[str, Any]) -> Self | None:
        """This step's result among the results of a run; None when the step has none.

        Args:
            results: plain JSON, as read from a file.

        Raises:
            BadInput: the JSON does not match this model.
        """
        return cls.read(plain) if (plain := results.get(cls.step)) else None

    @classmethod
    def read(cls, plain: Json) -> Self:
        """The result that a file has as plain JSON.

        Raises:
            BadInput: the JSON does not match this model.
        """
        try:
            return cls.model_validate(plain)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, (cls.step, *problem["loc"])))
            raise BadInput(
                f"the results of this run cannot be read ({field}: {problem['msg']}); were they written by another "
                "version of Slipway? Run again, or look with that version"
            ) from error


def number(values: Mapping[str, JsonValue], name: str) -> float:
    """A number among the settings that are part of a result.

    Raises:
        BadInput: the setting is missing, or no number.
    """
    value = values.get(name)
    if not isinstance(value, int | float):
        raise BadInput(f"the results of this run have the setting {name}={value!r}; expected a number")
    return value
