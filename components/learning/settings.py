"""Settings of the step `train`, which the trainings of the step `select_model` use, too."""

from collections.abc import Mapping
from typing import Literal

from pydantic import JsonValue, ValidationError, field_validator, model_validator

from slipway.components.errors import BadInput
from slipway.components.settings import Settings, setting


class TrainSettings(Settings):
    """How the classifier is trained."""

    encoder: str = setting(
        "minilm",
        "pretrained encoder: `minilm`, a folder here or on S3, or a Hugging Face name (`org/name`, "
        "`org/name@revision`)",
        min_length=1,
    )
    layers: int = setting(0, "keep only the first layers of the encoder; 0 keeps all", "layers", ge=0)
    max_length: int = setting(
        0,
        "longer texts are cut to this length, of 8 at least; 0 takes the length that reads 99 % of the training texts "
        "whole, as far as the encoder goes",
        "tokens",
        ge=0,
        le=512,
    )
    epochs: int = setting(3, "passes over the training split at most", "epochs", ge=1)
    batch_size: int = setting(16, "texts in one forward pass of one process", "texts", ge=2)
    accumulation: int = setting(1, "batches of one process that make one update", "batches", ge=1)
    learning_rate: float = setting(
        0.0,
        "highest learning rate of the encoder, after the warm-up; 0 takes one by the encoder's size: 2e-4 for minilm, "
        "3e-5 for a BERT-base",
        ge=0,
        le=1,
    )
    layer_decay: float = setting(
        0.9, "learning rate of each layer as a multiple of that of the layer above it", "times", gt=0, le=1
    )
    linear_probe: bool = setting(
        True,
        "start the head from a logistic regression on the frozen encoder (LP-FT) in place of random weights; a "
        "training with privacy_epsilon always starts at random",
    )
    class_weights: Literal["none", "balanced"] = setting(
        "none", "whether rare classes count as much as frequent ones in the loss"
    )
    head_factor: float = setting(
        10.0,
        "learning rate of a head with random weights and the pooler below it, as a multiple of the encoder's; a head "
        "that starts from the linear probe learns as fast as the encoder",
        "times",
        gt=0,
    )
    warmup_share: float = setting(0.1, "part of all updates with a rising learning rate", "share", ge=0, le=1)
    weight_decay: float = setting(0.01, "decoupled weight decay; biases and LayerNorm are exempt", ge=0)
    label_smoothing: float = setting(0.0, "probability spread over all labels", "share", ge=0, lt=1)
    max_gradient_norm: float = setting(1.0, "gradients with a greater norm are scaled down to it", gt=0)
    privacy_epsilon: float = setting(
        0.0,
        "most that the weights may tell of one training text, as the ε of differential privacy: train by DP-SGD with "
        "as much noise as that needs; 0 trains without",
        ge=0,
        le=50,
    )
    privacy_delta: float = setting(
        0.0, "probability that the bound of privacy_epsilon does not hold; 0 takes 1 / (2 × training texts)", ge=0, lt=1
    )
    privacy_gradient_norm: float = setting(
        1.0,
        "with privacy_epsilon, in place of max_gradient_norm: the gradient of each text is scaled down to this norm",
        gt=0,
    )
    evaluations: int = setting(
        2, "evaluations on the validation split in each epoch, at equal distances", "evaluations", ge=1
    )
    patience: int = setting(2, "evaluations without gain before training stops early", "evaluations", ge=1)
    checkpoint_every: int = setting(20, "distance of checkpoints; what a kill can cost", "updates", ge=1)
    log_every: int = setting(5, "distance of the points of the training curve", "updates", ge=1)
    processes: int = setting(2, "data-parallel worker processes", "processes", ge=1)
    threads_per_process: int = setting(1, "CPU threads of each worker process", "threads", ge=1)
    seed: int = setting(13, "seed of the new head, of dropout and of the order of the texts", ge=0, lt=2**31)
    experiment: str = setting("slipway", "name of the MLflow experiment", min_length=1)

    @field_validator("max_length")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < 8:
            raise ValueError("at least 8 tokens are needed, or 0 for the length that the data have")
        return value

    @model_validator(mode="after")
    def _private_weights(self) -> "TrainSettings":
        if self.privacy_epsilon and self.class_weights != "none":
            raise ValueError(
                "class_weights tells the sizes of the classes, which privacy_epsilon keeps; set it to none"
            )
        return self

    def with_choice(self, choice: Mapping[str, JsonValue]) -> "TrainSettings":
        """These settings with the fields that the step `select_model` chose.

        Raises:
            BadInput: a field is unknown or its value is out of bounds.
        """
        try:
            return TrainSettings.model_validate(self.model_dump() | dict(choice))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc']))}={item['input']!r}: {item['msg']}" for item in error.errors()
            )
            raise BadInput(
                f"the chosen settings do not fit the step train ({problems}); correct the candidates"
            ) from error
