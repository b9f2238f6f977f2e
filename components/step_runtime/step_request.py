"""The request of a step: one parameter in plain JSON, which a step gets beside its input artifacts."""

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.container_image import PUBLIC_KEY_FOLDER
from slipway.components.platforms.execution_target import Target
from slipway.components.settings import Settings, setting
from slipway.components.step_runtime.step_result import Json


class StepRequest(Settings):
    """The request of any step; each step reads the fields that it needs.

    Fields with their defaults are left out of the JSON, since every pod of the run repeats it.
    """

    settings: Json = setting({}, "the section of slipway.yaml that is the step's")
    select: Json = setting({}, "section `select`, for the step train, which makes the choice")
    encoder: str = setting("", "the encoder whose tokens the step prepare_data counts; empty for none")
    max_length: int = setting(0, "tokens after which the model will cut texts; 0 when the data decide")
    model_name: str = setting("", "name of the registered and served model")
    target: Target = setting("auto", "where trainings compute and the model is served")
    tracking_uri: str = setting("", "the MLflow tracking server with the model registry")
    cluster: ClusterSettings = ClusterSettings()
    public_key: str = setting(
        PUBLIC_KEY_FOLDER,
        "folder of public keys, or a PEM file: they verify the bundles to compare with, and to serve on this machine",
    )
    floor: float = setting(0.0, "macro-F1 that the gate asks of a first version, for the step rollout")
    record: str = setting("", "URI below which pods keep the records of runs")

    def plain(self) -> Json:
        """The request as plain JSON, without fields that have their defaults."""
        plain: Json = self.model_dump(mode="json", exclude_defaults=True)
        return plain
