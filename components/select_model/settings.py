"""Settings of the step `select_model`, and the candidates that they describe."""

from typing import Any

from pydantic import ValidationError, field_validator

from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.settings import Settings, setting
from slipway.components.step_runtime.settings_lists import NAME, changes_of, check_key, check_names, problems

OF_THE_RUN = {
    "processes",
    "threads_per_process",
    "experiment",
    "checkpoint_every",
    "log_every",
    "patience",
    "evaluations",
    "seed",
    "privacy_epsilon",
    "privacy_delta",
}
"""Settings of the step train that candidates cannot change, since they do not make another kind of model."""
VARIABLE = [name for name in TrainSettings.model_fields if name not in OF_THE_RUN]

DEFAULT_CANDIDATES: list[dict[str, Any]] = [
    {"name": "all layers"},
    {"name": "3 layers", "layers": 3},
]


class Candidate(Settings):
    """A candidate: its name, the settings of the step train that it changes, and all settings with the changes."""

    name: str
    changes: dict[str, Any]
    train: TrainSettings


class SelectSettings(Settings):
    """Which candidates are compared, and how."""

    candidates: list[dict[str, Any]] = setting(
        DEFAULT_CANDIDATES,
        "what to compare: each has any of " + ", ".join(f"`{name}`" for name in VARIABLE) + " in place of the value in "
        "section `train`, and may have a `name`; with one candidate, or none, nothing is compared",
    )
    folds: int = setting(2, "parts of the training split; each is held out once", "folds", ge=2, le=10)
    epochs: int = setting(
        0, "passes over the texts in each cross-validation training; 0 as in section `train`", "epochs", ge=0
    )
    texts: int = setting(
        600, "use at most this many texts of the training split, drawn by class; 0 uses all", "texts", ge=0
    )
    class_texts: int = setting(
        10, "use more texts than `texts` where there are many classes: so many for each class on average", "texts", ge=0
    )
    seed: int = setting(13, "seed of the draw and of the folds", ge=0, lt=2**31)

    @field_validator("candidates")
    @classmethod
    def _known_settings(cls, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, candidate in enumerate(candidates, 1):
            for key in candidate:
                _check_key(number, str(key))
        check_names("candidates", [_name(candidate) for candidate in candidates])
        return candidates


def _check_key(number: int, key: str) -> None:
    if key in OF_THE_RUN:
        raise ValueError(f"candidate {number}: candidates cannot differ in {key}; set train.{key} for all of them")
    check_key(f"candidate {number}", key, VARIABLE)


def _name(candidate: dict[str, Any]) -> str:
    changes = ", ".join(f"{key}={value}" for key, value in changes_of(candidate).items())
    return str(candidate.get(NAME, changes or "settings of train"))


def candidates_of(settings: SelectSettings, train: TrainSettings) -> list[Candidate]:
    """The candidates, made from the settings of the step train. Without any in the settings, there is one without
    changes.

    Raises:
        BadInput: a value is out of bounds, or two candidates are the same; or the training is to be private, and there
            are several candidates: their comparison on the training texts would not be private.
    """
    if train.privacy_epsilon and len(settings.candidates) > 1:
        raise BadInput(
            f"train.privacy_epsilon={train.privacy_epsilon:g}, but comparing the {len(settings.candidates)} candidates "
            "of select.candidates would tell of the training texts too; set select.candidates to [] or to one of them"
        )
    candidates: list[Candidate] = []
    for item in settings.candidates or [{}]:
        changes = changes_of(item)
        try:
            merged = TrainSettings.model_validate(train.model_dump() | changes)
        except ValidationError as error:
            raise BadInput(
                f"candidate {_name(item)!r} cannot be used ({problems(error)}); correct select.candidates"
            ) from None
        changes = {key: getattr(merged, key) for key in changes}
        candidate = Candidate(name=_name(item | changes), changes=changes, train=merged)
        for other in candidates:
            if other.train == candidate.train:
                raise BadInput(f"candidates {other.name!r} and {candidate.name!r} are the same; remove one")
        candidates.append(candidate)
    return candidates


def trainings(settings: SelectSettings, train: TrainSettings) -> int:
    """The number of trainings in cross-validation; 0 when there is nothing to compare.

    Raises:
        BadInput: as `candidates_of`.
    """
    candidates = candidates_of(settings, train)
    return len(candidates) * settings.folds if len(candidates) > 1 else 0
