"""All settings of a run: read from `slipway.yaml` and `--set section.field=value`, validated before a run starts."""

import difflib
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slipway.components.clients.credentials import holds_password
from slipway.components.compress.settings import CompressSettings
from slipway.components.errors import BadInput
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.execution_target import Target
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.register.settings import RegistrySettings
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.select_model.settings import SelectSettings, candidates_of
from slipway.components.settings import Settings, setting

DEFAULT_FILE = Path("slipway.yaml")
QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
"""A text in the quotes of YAML."""

NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises for text that is not YAML: also for bytes that are no UTF-8 and for dates that do not exist
(ValueError), and for very deep nesting (RecursionError).
"""


class SlipwaySettings(Settings):
    """The whole of `slipway.yaml`."""

    model_name: str = setting(
        "customer-messages", "name of the registered and served model", pattern=r"^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$"
    )
    target: Target = setting(
        "auto", "where trainings compute and the model is served: `local`, `kubernetes`, or auto: where the steps run"
    )
    tracking_uri: str = setting("", "MLflow tracking server; empty for a SQLite file in Slipway's home")
    data: DataSettings = DataSettings()
    select: SelectSettings = SelectSettings()
    train: TrainSettings = TrainSettings()
    compress: CompressSettings = CompressSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    registry: RegistrySettings = RegistrySettings()
    rollout: RolloutSettings = RolloutSettings()
    cluster: ClusterSettings = ClusterSettings()


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> SlipwaySettings:
    """Read settings.

    Args:
        path: a YAML file; None reads `slipway.yaml` in the current folder, or takes all defaults without such a file.
        overrides: `section.field=value` each, where the value is YAML.

    Raises:
        BadInput: the file cannot be read, a key is unknown, a value is out of bounds, or a training is to be private
            and another step would use its texts without noise; or an address holds a password.
    """
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    values = _read(path) if path else {}
    for override in overrides:
        _apply(values, override)
    return checked(values, f" in {path}" if path else "")


def checked(values: dict[str, Any], origin: str = "") -> SlipwaySettings:
    """Validate settings, also those that several steps must agree on.

    Args:
        values: by section; what is left out has its default.
        origin: where they come from, for the message, such as ` in slipway.yaml`.

    Raises:
        BadInput: as for `load_settings`.
    """
    try:
        settings = SlipwaySettings.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(item)}" for item in error.errors())
        raise BadInput(f"the settings{origin} cannot be used:\n{problems}") from None
    _check_passwords(settings.model_dump())
    if settings.train.privacy_epsilon:
        candidates_of(settings.select, settings.train)
        settings.compress.check_private()
    return settings


def _check_passwords(values: dict[str, Any], prefix: str = "") -> None:
    """Check that no address holds a password, since settings are written to the folder and the report of a run."""
    for name, value in values.items():
        if isinstance(value, dict):
            _check_passwords(value, f"{prefix}{name}.")
        elif isinstance(value, str) and holds_password(value):
            raise BadInput(
                f"{prefix}{name} holds a password, and settings are kept with each run; give the address without it. "
                "For MLflow set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment (for pods "
                "in the Secret slipway-s3), for a database behind it what its driver reads, such as PGPASSWORD"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise BadInput(f"the settings file {path} cannot be read: {error.strerror}") from error
    except NO_YAML as error:
        raise BadInput(f"the settings file {path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise BadInput(f"the settings file {path} holds a {type(values).__name__}; expected sections such as `train:`")
    # A section that has only comments is None.
    return {name: value for name, value in values.items() if value is not None}


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise BadInput(f"--set {override!r} is not of the form section.field=value, as in train.epochs=2")
    *sections, name = key.strip().split(".")
    section_values = values
    for section in sections:
        inner = section_values.setdefault(section, {})
        if inner is None:
            inner = section_values[section] = {}
        if not isinstance(inner, dict):
            raise BadInput(f"--set {override!r}: {section} is not a section")
        section_values = inner
    section_values[name] = _value(sections, name, text, override)


def _value(sections: Sequence[str], name: str, text: str, override: str) -> Any:
    """The value of a setting as it is typed on a command line: YAML, but for a setting that is a text the text itself.

    YAML would take `|` and `,` for its own signs, `yes` for a boolean and `2024-01-01` for a date. Quotes around the
    whole text, by which one could always write it, are not part of it.
    """
    model = _model_at(sections)
    is_text = model is not None and name in model.model_fields and _is_text(model.model_fields[name].annotation)
    if is_text and not QUOTED.fullmatch(text.strip()):
        return text.strip() or text[:1]
    try:
        return yaml.safe_load(text)
    except NO_YAML as error:
        raise BadInput(f"--set {override!r}: the value is not YAML ({error})") from error


def _is_text(kind: Any) -> bool:
    """Whether a field takes texts only: `str`, or a choice of texts."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return kind is str or bool(choices) and all(isinstance(choice, str) for choice in choices)


def _problem(item: ErrorDetails) -> str:
    """One sentence about a problem; for an unknown setting with settings that the user may have meant."""
    full_name = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{full_name} = {item['input']!r}: {item['msg']}"
    *sections, name = (str(part) for part in item["loc"])
    known = _fields_at(sections)
    prefix = "".join(f"{section}." for section in sections)
    near = [prefix + field for field in difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    elsewhere = [f.name for f in fields() if f.name.split(".")[-1] == name and f.name not in near]
    candidates = ", ".join([*elsewhere, *near]) or ", ".join(known)
    return (
        f"{full_name} is unknown; did you mean {candidates}?"
        if near or elsewhere
        else f"{full_name} is unknown; known: {candidates}"
    )


def _fields_at(sections: Sequence[str]) -> list[str]:
    """Names of the fields of a section; empty when there is no such section."""
    model = _model_at(sections)
    return list(model.model_fields) if model else []


def _model_at(sections: Sequence[str]) -> type[BaseModel] | None:
    """The class of a section; None when there is no such section."""
    model: type[BaseModel] = SlipwaySettings
    for section in sections:
        inner = model.model_fields[section].annotation if section in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


class FieldDescription(NamedTuple):
    """One setting, as docs/settings.md lists it."""

    name: str
    default: Any
    unit: str
    meaning: str


def fields(model: type[BaseModel] = SlipwaySettings, prefix: str = "") -> Iterator[FieldDescription]:
    """Yield every setting in order, with the fields of sections by their full names."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from fields(inner, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        default = field.get_default(call_default_factory=True)
        yield FieldDescription(f"{prefix}{name}", default, unit, field.description or "")


def settings_table() -> str:
    """The Markdown table of every setting."""
    rows = ["| setting | default | unit | meaning |", "|---|---|---|---|"]
    for field in fields():
        default = as_yaml(field.default)
        cells = (f"`{field.name}`", f"`{default}`" if default not in ("''", "") else "", field.unit, field.meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(rows)


def readable_settings(section: str, width: int) -> Iterator[str]:
    """Yield lines for a terminal: each setting with its default and unit, then its meaning.

    Args:
        section: such as `train`, or the name of one setting; empty for all.
        width: of a line, in characters.

    Raises:
        BadInput: there is no such section or setting.
    """
    selected = [f for f in fields() if not section or f.name == section or f.name.startswith(f"{section}.")]
    if not selected:
        known = list(dict.fromkeys(field.name.partition(".")[0] for field in fields()))
        near = difflib.get_close_matches(section, [*known, *(field.name for field in fields())], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"known sections: {', '.join(known)}"
        raise BadInput(f"there are no settings {section!r}; {hint}")
    for field in selected:
        default = as_yaml(field.default)
        yield f"{field.name} = {default}" + (f" {field.unit}" if field.unit else "")
        yield from textwrap.wrap(field.meaning, width, initial_indent="    ", subsequent_indent="    ")


def as_yaml(value: Any) -> str:
    """A value as YAML, in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True).removesuffix("...\n").strip()
