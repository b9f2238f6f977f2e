"""Settings: unknown keys, bad values and overrides end in one clear message; every field is documented."""

from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms.model_registry import Registry
from slipway.pipelines.home import Places
from slipway.pipelines.settings import SlipwaySettings, fields, load_settings

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "slipway.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_file_and_overrides_change_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "model_name: reviews\ntrain:\n  epochs: 7\n")
    settings = load_settings(path, ["train.epochs=2", "rollout.steps=5,100"])
    assert settings.model_name == "reviews"
    assert settings.train.epochs == 2
    assert settings.rollout.percents == [5, 100]
    assert settings.train.batch_size == SlipwaySettings().train.batch_size


def test_an_empty_section_has_its_defaults(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "train:\n"), ["train.epochs=2"])
    assert settings.train.epochs == 2


def test_an_unknown_key_lists_the_near_ones(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train\.epoch is unknown; did you mean train\.epochs"):
        load_settings(written(tmp_path, "train:\n  epoch: 3\n"))


def test_a_key_in_the_wrong_section_is_found(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"select\.text_column is unknown; did you mean data\.text_column"):
        load_settings(written(tmp_path, "select:\n  text_column: body\n"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_settings(written(tmp_path, "train:\n  epochs: 0\nmodel_name: Has Spaces\n"))
    assert "train.epochs = 0" in str(caught.value)
    assert "model_name = 'Has Spaces'" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "is not of the form"),
        ("train.epochs=[", "is not YAML"),
        ("model_name.epochs=1", "model_name"),
        ("train.epochs.more=1", "train.epochs"),
    ],
)
def test_a_malformed_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_settings(None, ["model_name=a", "train.epochs=1", override])


@pytest.mark.parametrize("text", ["- a\n- b\n", "train: [\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match="settings file"):
        load_settings(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere.yaml"):
        load_settings(tmp_path / "nowhere.yaml")


def test_every_field_has_a_meaning() -> None:
    assert [field.name for field in fields() if not field.meaning] == []


def test_the_shipped_file_is_valid() -> None:
    load_settings(ROOT / "slipway.yaml")


PRIVATE = ["train.privacy_epsilon=8", "select.candidates=[]", "compress.distil=false", "compress.prune=false"]


def test_a_private_training_can_be_asked_for() -> None:
    settings = load_settings(None, PRIVATE)
    assert (settings.train.privacy_epsilon, settings.train.privacy_delta) == (8, 0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["select.candidates=[{layers: 2}, {layers: 3}]"], "train.privacy_epsilon=8, but comparing the 2 candidates"),
        (["compress.distil=true"], r"as compress.distil would; set compress.distil=false"),
        (["compress.prune=true", "compress.float_matrices=2"], r"set compress.prune=false, compress.float_matrices=0"),
        (["compress.static=true"], r"set compress.static=false"),
        (["train.privacy_epsilon=-1"], r"train.privacy_epsilon = -1"),
        (["train.privacy_epsilon=1000"], r"train.privacy_epsilon = 1000"),
        (["train.privacy_delta=1"], r"train.privacy_delta = 1"),
        (["train.privacy_gradient_norm=0"], r"train.privacy_gradient_norm = 0"),
    ],
)
def test_what_would_undo_the_privacy_of_a_training_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_settings(None, [*PRIVATE, *overrides])


@pytest.mark.parametrize("value", ["2024-02-30", "[" * 5000])
def test_values_on_which_yaml_stumbles_are_named(value: str) -> None:
    with pytest.raises(BadInput, match="is not YAML"):
        load_settings(None, [f"train.epochs={value}"])


@pytest.mark.parametrize(
    ("setting", "typed", "taken"),
    [
        ("data.delimiter", "|", "|"),
        ("data.delimiter", ",", ","),
        ("data.delimiter", " ", " "),
        ("data.delimiter", "\\t", "\t"),
        ("data.delimiter", "';'", ";"),
        ("data.text_column", "yes", "yes"),
        ("data.text_column", "2024-01-01", "2024-01-01"),
        ("data.text_column", "body: the whole", "body: the whole"),
        ("data.text_column", " [text] ", "[text]"),
        ("data.text_column", "007", "007"),
        ("data.text_column", '"#1"', "#1"),
        ("data.source", "it's here.csv", "it's here.csv"),
        ("data.conflicts", "drop", "drop"),
        ("tracking_uri", "", ""),
    ],
)
def test_a_text_is_taken_as_it_is_typed(setting: str, typed: str, taken: str) -> None:
    section, _, name = setting.rpartition(".")
    settings = load_settings(None, [f"{setting}={typed}"])
    assert getattr(getattr(settings, section) if section else settings, name) == taken


@pytest.mark.parametrize(
    "override", ["tracking_uri=http://me:pass-word@host", "data.source=https://me:pass-word@host/a"]
)
def test_an_address_with_a_password_is_refused_and_not_told(override: str) -> None:
    with pytest.raises(BadInput, match="holds a password") as told:
        load_settings(None, [override])
    assert "pass-word" not in str(told.value)


def test_the_database_is_in_the_home_folder_whatever_that_is_called(tmp_path: Path) -> None:
    home = tmp_path / "a%2Fb c#d?e ü"
    resolved = Places(home).resolved(SlipwaySettings(target="local"))
    Registry(resolved.tracking_uri, "topics")
    assert list(tmp_path.rglob("mlflow.db")) == [home / "mlflow.db"]  # MLflow makes an empty folder beside it
