"""The model servers of this machine's service open encrypted bundles, also after the settings are forgotten."""

import base64
import os
import shutil
from pathlib import Path

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import DRAFT_FILES, Bundle
from slipway.components.artifacts.encryption import VARIABLE, KeyFile, encrypt
from slipway.components.rollout.local import decryption, servers
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.state import State
from slipway.components.rollout.target import Revision


@pytest.fixture
def encrypted(draft_bundle: Path, tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(base64.b64encode(os.urandom(32)))
    folder = shutil.copytree(draft_bundle, tmp_path / "bundle")
    encrypt(folder, DRAFT_FILES, KeyFile(tmp_path / "key"))
    signing.sign(folder, signing.key_pair(tmp_path / "keys").private_key)
    return folder


def test_the_name_of_the_key_is_remembered(
    encrypted: Path, draft_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = tmp_path / "service"
    monkeypatch.delenv(VARIABLE, raising=False)
    assert decryption.options(service, str(encrypted)) == []
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
    given = ["--decryption_key", str(tmp_path / "key")]
    assert decryption.options(service, str(encrypted)) == given
    monkeypatch.delenv(VARIABLE)
    assert decryption.options(service, str(encrypted)) == given
    assert decryption.options(service, str(draft_bundle)) == []


def test_only_a_key_in_kms_needs_access_to_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert decryption.environment(["--decryption_key", "kms:a"])["AWS_REGION"] == "eu-central-1"
    assert decryption.environment(["--decryption_key", "/a/kms:file"]) == {}
    assert decryption.environment([]) == {}


def test_a_server_of_an_encrypted_bundle_answers(
    encrypted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
    server = servers.new_server(Revision("1", str(encrypted), Bundle(encrypted).digest()))
    state = State("messages", str(tmp_path / "keys" / "public.pem"), 0, 0, auth=False)
    servers.start(tmp_path / "service", state, server)
    try:
        servers.wait_ready(tmp_path / "service", server, RestClient("messages"), timeout_s=120)
    finally:
        servers.stop(server)
