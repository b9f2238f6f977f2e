"""The pipeline's parameters: one with a type for each setting that users often change, and one for all others.

The UI of Kubeflow Pipelines shows them as the fields of a form. `slipway submit` and `slipway run` fill in the same
fields, so that "Clone run" in the UI shows the settings of the run.
"""

from collections.abc import Mapping
from typing import Any

from slipway.components.errors import BadInput
from slipway.components.settings import differences, unfolded
from slipway.pipelines.settings import SlipwaySettings, checked

FIELDS = {
    "source": "data.source",
    "text_column": "data.text_column",
    "label_column": "data.label_column",
    "model_name": "model_name",
    "encoder": "train.encoder",
    "epochs": "train.epochs",
    "processes": "train.processes",
    "min_macro_f1": "evaluate.min_macro_f1",
    "canary_steps": "rollout.steps",
}
"""The name of each field's setting."""

REST = "settings"
"""The field for all other settings."""


def filled(settings: SlipwaySettings, base: SlipwaySettings) -> dict[str, Any]:
    """Fill in the form with the settings of a run; returns the parameters of the pipeline as plain JSON.

    Args:
        settings: of the run.
        base: the values that the reader of the form uses for settings that it does not name.
    """
    values = settings.model_dump(mode="json")
    rest = differences(values, base.model_dump(mode="json"))
    form: dict[str, Any] = {}
    for field, name in FIELDS.items():
        *sections, key = name.split(".")
        all_values, other_values = values, rest
        for section in sections:
            all_values, other_values = all_values[section], other_values.get(section, {})
        form[field] = all_values[key]
        other_values.pop(key, None)
    return form | {REST: {name: value for name, value in rest.items() if value != {}}}


def settings_of(form: Mapping[str, Any]) -> SlipwaySettings:
    """Read the settings of a run from a form that is filled in.

    Args:
        form: has every one of `FIELDS`, and `REST`, in which `{"train": {"seed": 7}}` and `{"train.seed": 7}` are the
            same.

    Raises:
        BadInput: a setting is unknown or cannot be used, or is given twice with different values.
    """
    values = unfolded(form[REST])
    for field, name in FIELDS.items():
        *sections, key = name.split(".")
        section_values = values
        for section in sections:
            section_values = section_values.setdefault(section, {})
        if not isinstance(section_values, dict):
            continue  # not a section; `checked` raises for it
        if key in section_values and section_values[key] != form[field]:
            raise BadInput(
                f"{REST} has {name} = {section_values[key]!r}, and the field {field} of the form has {form[field]!r}; "
                f"give it there only"
            )
        section_values[key] = form[field]
    return checked(values)
