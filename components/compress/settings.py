"""Settings of the step `compress`."""

import re
from typing import Any, Literal

from pydantic import ValidationError, ValidationInfo, field_validator

from slipway.components.errors import BadInput
from slipway.components.settings import Settings, setting
from slipway.components.step_runtime.settings_lists import NAME, changes_of, check_key, check_names, problems

SHAPE = ("layers_kept", "width_kept", "heads_kept", "neurons_kept")
"""Settings in which the students of one search can differ."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")
"""A name has no hyphen, since a hyphen separates it from other parts in the names of models, files and folders."""


class CompressSettings(Settings):
    """Which smaller variants are made, and which of them may be chosen."""

    quality_share: float = setting(
        0.95,
        "part of the teacher's macro-F1 on the validation split that the chosen variant keeps",
        "share",
        ge=0,
        le=1,
    )
    quality_confidence: float = setting(
        0.95,
        "confidence that it keeps as much: the lower bound of a paired bootstrap must reach quality_share",
        "share",
        gt=0.5,
        lt=1,
    )
    target: Literal["latency", "throughput", "size"] = setting(
        "latency",
        "what the best variant is best in: `latency` (batch 1), `throughput` (batch 32) or `size`",
    )
    budget_s: float = setting(
        1800,
        "time for making students; a student that is not ready is measured as far as it got, further ones are not "
        "begun. Export and measuring come on top",
        "seconds",
        gt=0,
    )
    give_up: bool = setting(
        True,
        "stop teaching a model as soon as the validation split shows that it cannot keep quality_share, and make no "
        "pruned models of such a student",
    )
    stored_outputs_gb: float = setting(
        2.0,
        "largest file of the teacher's hidden states; if they are more, the teacher answers anew in each epoch, "
        "which takes longer",
        "GB",
        ge=0,
    )
    distil: bool = setting(True, "make a student with fewer layers")
    layers_kept: float = setting(0.5, "part of the teacher's layers that the student has", "share", gt=0, le=1)
    width_kept: float = setting(
        1.0, "part of the dimensions of the hidden states that the student has", "share", gt=0, le=1
    )
    distil_epochs: int = setting(3, "passes over the training split to teach the student", "epochs", ge=1)
    augmentation: float = setting(
        0.0,
        "unlabelled texts that are made anew in each epoch, for each training text: spans, mixtures and replaced words",
        "texts",
        ge=0,
    )
    prune: bool = setting(True, "cut heads and neurons out of the student, or of the teacher when there is no student")
    heads_kept: float = setting(
        0.67, "part of the attention heads of each layer that pruning leaves", "share", gt=0, le=1
    )
    neurons_kept: float = setting(
        0.5, "part of the feed-forward neurons of each layer that pruning leaves", "share", gt=0, le=1
    )
    students: list[dict[str, Any]] = setting(
        [],
        "shapes to try in one search: each has any of " + ", ".join(f"`{name}`" for name in SHAPE) + " in place of the "
        "value in this section, and may have a `name` of letters, digits and _; without any, the shape of this section",
    )
    prune_rounds: int = setting(1, "cuts on the way to what is kept, each with its part of the recovery", ge=1)
    importance_texts: int = setting(
        256, "training texts on which the importance of heads and neurons is measured", "texts", ge=1
    )
    recovery_epochs: int = setting(2, "passes over the training split after pruning", "epochs", ge=0)
    vocabulary_kept: float = setting(
        0.5,
        "part of the vocabulary that smaller models keep: all that the training texts need, then the most frequent",
        "share",
        gt=0,
        le=1,
    )
    quantise: bool = setting(True, "make an int8 variant of every model")
    static: bool = setting(
        False, "make a variant with activations of fixed scales as well, from the training texts, of every model"
    )
    float_matrices: int = setting(
        0, "matrices of each int8 variant that stay in floating point: those whose int8 form costs most", ge=0
    )
    temperature: float = setting(2.0, "of the soft labels; higher shows more of the small probabilities", ge=1)
    hard_label_share: float = setting(0.1, "weight of the true labels beside the teacher's", "share", ge=0, le=1)
    hidden_weight: float = setting(5.0, "weight of the distance of the hidden states in the loss", ge=0)
    relation_weight: float = setting(
        0.0, "weight of the distance of the attention relations of the last layer in the loss", ge=0
    )
    batch_size: int = setting(16, "texts of one update", "texts", ge=2)
    learning_rate: float = setting(3e-4, "highest learning rate of distillation and recovery", gt=0, le=1)
    bfloat16: bool = setting(
        False, "compute distillation in bfloat16 where that loses little: twice as fast on processors that have it"
    )
    train_threads: int = setting(0, "CPU threads of distillation; 0 takes as many as there are cores", "threads", ge=0)
    serving_threads: int = setting(
        0,
        "CPU threads of an inference when latency is measured; 0 as the server: as many as there are cores",
        "threads",
        ge=0,
    )
    latency_rounds: int = setting(20, "rounds in which every variant is timed once", "rounds", ge=3)
    seed: int = setting(13, "seed of the order of the texts", ge=0, lt=2**31)

    @field_validator("students")
    @classmethod
    def _known_shapes(cls, students: list[dict[str, Any]], info: ValidationInfo) -> list[dict[str, Any]]:
        """Validate the shapes, and convert their values to the fields' types.

        The digest of a search includes them, so `1` and `1.0` must be the same.
        """
        students = [cls._shape(number, item) for number, item in enumerate(students, 1)]
        check_names("students", [item[NAME] for item in students if NAME in item])
        shapes = [[item.get(name, info.data.get(name)) for name in SHAPE] for item in students]
        for number, shape in enumerate(shapes, 1):
            if (first := shapes.index(shape) + 1) < number:
                raise ValueError(f"students {first} and {number} are the same; remove one")
        return students

    @classmethod
    def _shape(cls, number: int, item: dict[str, Any]) -> dict[str, Any]:
        label = f"student {number}"
        for key in item:
            check_key(label, key, SHAPE)
        try:
            values = cls.model_validate(changes_of(item))
        except ValidationError as error:
            raise ValueError(f"{label} cannot be used ({problems(error)})") from None
        changes = {key: getattr(values, key) for key in changes_of(item)}
        if NAME not in item:
            return changes
        name = str(item[NAME])
        if not PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{label}: the name {name!r} is not of letters, digits and _, 40 at most")
        return {NAME: name} | changes

    def check_private(self) -> None:
        """Check that no variant is made from the training texts: after a private training that would not be private.

        The teacher and its dynamic int8 form are allowed, since they depend on the weights only.

        Raises:
            BadInput: a setting asks for another variant.
        """
        required: dict[str, bool | int] = {"distil": False, "prune": False, "static": False, "float_matrices": 0}
        refused = [name for name, value in required.items() if getattr(self, name) != value]
        if refused:
            corrections = ", ".join(f"compress.{name}={str(required[name]).lower()}" for name in refused)
            raise BadInput(
                f"with train.privacy_epsilon the step compress may not use the training texts again without noise, as "
                f"{', '.join(f'compress.{name}' for name in refused)} would; set {corrections}"
            )
