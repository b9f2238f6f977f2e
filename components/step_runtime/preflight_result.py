"""The result of the pipeline's first step, `preflight`."""

from typing import ClassVar

from pydantic import JsonValue

from slipway.components.step_runtime.step_result import StepResult


class PreflightResult(StepResult):
    """What the run is about, as the first step resolved it."""

    step: ClassVar[str] = "preflight"

    model_name: str
    """Name of the registered and served model."""
    settings: dict[str, JsonValue]
    """The settings that differ from their defaults, by section."""
