"""The form of a run: fields with types for the settings that people change, and one for all others.

Kubeflow Pipelines' UI shows a field for each parameter of the pipeline. `slipway submit` and `slipway run` fill in the
same ones, so that "Clone run" shows what was asked.
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
"""Each field's setting."""

REST = "settings"
"""The field for all others."""


def filled(settings: SlipwaySettings, base: SlipwaySettings) -> dict[str, Any]:
    """The form that asks for settings: parameters of the pipeline, plain JSON.

    Args:
        settings: of the run.
        base: what those who read the form take for settings that it does not name.
    """
    values = settings.model_dump(mode="json")
    rest = differences(values, base.model_dump(mode="json"))
    form: dict[str, Any] = {}
    for field, name in FIELDS.items():
        *sections, key = name.split(".")
        own, given = values, rest
        for section in sections:
            own, given = own[section], given.get(section, {})
        form[field] = own[key]
        given.pop(key, None)
    return form | {REST: {name: value for name, value in rest.items() if value != {}}}


def settings_of(form: Mapping[str, Any]) -> SlipwaySettings:
    """The settings that a form asks for.

    Args:
        form: every one of `FIELDS`, and `REST`, in which `{"train": {"seed": 7}}` and `{"train.seed": 7}` are the same.

    Raises:
        BadInput: a setting is unknown or cannot be used, or is given twice.
    """
    values = unfolded(form[REST])
    for field, name in FIELDS.items():
        *sections, key = name.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        if not isinstance(place, dict):
            continue  # told below
        if key in place and place[key] != form[field]:
            raise BadInput(
                f"{REST} has {name} = {place[key]!r}, and the field {field} of the form has {form[field]!r}; "
                f"give it there only"
            )
        place[key] = form[field]
    return checked(values)
