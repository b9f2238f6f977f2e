"""The base of every settings section: each field states its meaning, unit and bounds where it is defined."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A section of `slipway.yaml`. Unknown keys are refused; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def setting(default: Any, meaning: str, unit: str = "", **bounds: Any) -> Any:
    """A documented field. `unit` may be empty for names and switches; `bounds` are pydantic's (ge, le, …)."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)
