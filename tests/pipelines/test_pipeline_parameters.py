"""The form of a run: the settings that people change are fields, and one field has all others that differ."""

from pathlib import Path
from typing import Any

import pytest

from slipway.components.errors import BadInput
from slipway.pipelines import pipeline_parameters
from slipway.pipelines.cluster_settings import for_pods
from slipway.pipelines.settings import SlipwaySettings, load_settings

DEFAULTS = SlipwaySettings()


def asked(**changes: Any) -> dict[str, Any]:
    return pipeline_parameters.filled(DEFAULTS, DEFAULTS) | changes


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.epochs=7", "data.text_column=7", "model_name=reviews"],
        [
            "train.learning_rate=3e-4",
            "select.candidates=[{layers: 2}]",
            "evaluate.min_macro_f1=0.9",
            "rollout.steps='5'",
        ],
        ["cluster.store=s3://b", "registry.store=s3://c", "tracking_uri=http://m"],
    ],
)
def test_a_form_asks_for_the_very_settings_that_it_was_made_of(overrides: list[str]) -> None:
    settings = load_settings(None, overrides)
    assert pipeline_parameters.settings_of(pipeline_parameters.filled(settings, DEFAULTS)) == settings
    pods = for_pods(settings)
    assert for_pods(pipeline_parameters.settings_of(pipeline_parameters.filled(pods, for_pods(DEFAULTS)))) == pods


def test_the_form_of_a_default_run_names_no_other_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no slipway.yaml is
    assert pipeline_parameters.filled(for_pods(DEFAULTS), for_pods(DEFAULTS))["settings"] == {}
    changed = for_pods(load_settings(None, ["train.seed=7", "train.epochs=2"]))
    filled = pipeline_parameters.filled(changed, for_pods(DEFAULTS))
    assert (filled["epochs"], filled["settings"]) == (2, {"train": {"seed": 7}})


def test_settings_may_be_named_by_section_or_with_a_dot() -> None:
    both = asked(settings={"train.seed": 7, "train": {"batch_size": 8}, "tracking_uri": "http://m"})
    settings = pipeline_parameters.settings_of(both)
    assert (settings.train.seed, settings.train.batch_size, settings.tracking_uri) == (7, 8, "http://m")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train.sed": 7}, "train.sed is unknown; did you mean train.seed?"),
        ({"trian": {"seed": 7}}, "trian is unknown; did you mean train?"),
        ({"train": 3}, "train = 3"),
        ({"train.seed": "x"}, "train.seed = 'x'"),
        ({"train.epochs": 9}, "settings has train.epochs = 9, and the field epochs of the form has"),
    ],
)
def test_a_wrong_name_or_value_is_told_with_the_nearest_right_one(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as told:
        pipeline_parameters.settings_of(asked(settings=settings))
    assert words in str(told.value)


def test_a_setting_given_twice_with_one_value_is_no_error() -> None:
    assert pipeline_parameters.settings_of(asked(epochs=9, settings={"train.epochs": 9})).train.epochs == 9


def test_a_field_that_cannot_be_used_is_told_by_its_setting() -> None:
    with pytest.raises(BadInput, match=r"train\.epochs = 0"):
        pipeline_parameters.settings_of(asked(epochs=0))
