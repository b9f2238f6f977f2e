"""`slipway keys`: a key is shown once, listed without its secret, and gone when it is revoked."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slipway.components.clients import api_keys
from slipway.components.rollout.local import access
from slipway.pipelines.cli.main import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    return tmp_path


def slipway(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def test_a_key_is_shown_once_and_kept_as_a_hash_in_the_file_of_the_service(home: Path) -> None:
    made = slipway("add", "shop", "--scope", "predict", "--scope", "explain")
    key = made.stdout.strip()
    file = access.key_file(home / "service")
    entry = api_keys.read(file)[0]
    assert (made.exit_code, entry.identity, entry.scopes) == (0, "shop", ("predict", "explain"))
    assert (api_keys.id_of(key), entry.sha256) == (entry.id, api_keys.digest(key))
    assert key.split("_", 2)[2] not in file.read_text() + slipway("list").output + slipway("list", "--json").output
    assert entry.id in slipway("list").output


def test_a_key_may_expire() -> None:
    slipway("add", "shop", "--days", "30")
    slipway("add", "shop", "--days", "0")
    good, expired = json.loads(slipway("list", "--json").stdout)
    assert good["scopes"] == ["predict"]
    assert good["expires"] > expired["expires"]
    assert slipway("list").stdout.count("not valid now") == 1


def test_a_name_is_no_markup_and_no_key_is_for_ever() -> None:
    assert slipway("add", "[/x] [red]shop").exit_code == 0
    listed = slipway("list")
    assert (listed.exit_code, "[/x] [red]shop" in listed.stdout) == (0, True)
    assert slipway("add", "shop", "--days", "9999999").exit_code == 2


def test_a_revoked_key_is_gone_and_an_unknown_one_is_named() -> None:
    made = json.loads(slipway("add", "shop", "--json").stdout)
    assert slipway("revoke", made["id"]).exit_code == 0
    assert json.loads(slipway("list", "--json").stdout) == []
    again = slipway("revoke", made["id"])
    assert again.exit_code == 2
    assert made["id"] in again.output


def test_another_file_may_be_named(tmp_path: Path) -> None:
    file = tmp_path / "for-the-cluster.json"
    assert slipway("add", "shop", "--file", str(file)).exit_code == 0
    assert len(api_keys.read(file)) == 1
    assert slipway("list").exit_code == 2  # there are none for the service


def test_the_key_of_the_service_is_made_once_and_made_anew_when_it_was_revoked(tmp_path: Path) -> None:
    first = access.headers(tmp_path, auth=True)
    assert first == access.headers(tmp_path, auth=True)
    entry = api_keys.read(access.key_file(tmp_path))[0]
    assert (tmp_path / access.OWN_KEY).stat().st_mode & 0o777 == 0o600
    api_keys.revoke(access.key_file(tmp_path), entry.id)
    assert access.headers(tmp_path, auth=True) != first
    assert access.headers(tmp_path, auth=False) == {}
