"""Settings of an earlier release."""

from pathlib import Path

import yaml

from slipway.pipelines.settings import load_settings
from tests.upgrade.conftest import THEN


def test_every_setting_of_then_is_known() -> None:
    """One that is renamed is read by its old name too, or `checked` names the new one."""
    given = yaml.safe_load((THEN / "every-setting.yaml").read_text("utf-8"))
    settings = load_settings(THEN / "every-setting.yaml").model_dump(mode="json")
    assert {name: settings[name] for name in given if not isinstance(given[name], dict)} == {
        name: value for name, value in given.items() if not isinstance(value, dict)
    }
    for section, values in given.items():
        if isinstance(values, dict):
            assert settings[section] | values == settings[section]


def test_the_settings_of_a_user_of_then_are_read(user: Path) -> None:
    settings = load_settings(user / "slipway.yaml")
    assert settings.model_name == "messages"
    assert settings.train.encoder == str(user / "encoder")
    assert [candidate.get("layers") for candidate in settings.select.candidates] == [None, 1]
