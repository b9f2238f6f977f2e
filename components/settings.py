"""The base of every settings section: each field states its meaning, unit and bounds where it is defined."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A section of `slipway.yaml`. Unknown keys are refused; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def setting(default: Any, meaning: str, unit: str = "", **bounds: Any) -> Any:
    """A documented field. `unit` may be empty for names and switches; `bounds` are pydantic's (ge, le, …)."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)


def differences(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from those of `base`; of sections the fields that do."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        other = base.get(name)
        if isinstance(value, dict) and isinstance(other, dict):
            value, other = differences(value, other), {}
        if value != other:
            found[name] = value
    return found


def unfolded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by section, where `{"train.epochs": 2}` stands for `{"train": {"epochs": 2}}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        section, dot, field = str(name).partition(".")
        inner = {field: value} if dot else dict(value) if isinstance(value, dict) else value
        before = found.get(section)
        found[section] = before | inner if isinstance(before, dict) and isinstance(inner, dict) else inner
    return found
