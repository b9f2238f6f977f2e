"""The step register encrypts bundles when the settings name a key, and does so anew when that changes."""

import base64
import os
import shutil
from pathlib import Path

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import CARD, DRAFT_FILES, Bundle
from slipway.components.artifacts.encryption import ENVELOPE, VARIABLE, key_of
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.errors import BundleRefused
from slipway.components.platforms.model_registry import Registry
from slipway.components.register import step
from slipway.components.register.result import RegisterResult
from slipway.components.register.settings import RegistrySettings
from tests.components.present import present


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegistrySettings:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "key").write_bytes(base64.b64encode(os.urandom(32)))
    return RegistrySettings(
        store=str(tmp_path / "store"), keys=str(tmp_path / "keys"), encryption_key=str(tmp_path / "key")
    )


def test_bundles_are_encrypted_then_signed_and_can_be_adopted(
    settings: RegistrySettings, draft_bundle: Path, tmp_path: Path
) -> None:
    registry = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def register(**changes: str) -> RegisterResult:
        changed = settings.model_copy(update=changes)
        return step.run(draft_bundle, {}, changed, registry, "topics", "run-1")

    made = register()
    stored = Path(made.bundle_uri)
    names = {path.name for path in stored.iterdir()}
    assert names == {CARD, ENVELOPE, "signature.json", *(f"{name}.enc" for name in DRAFT_FILES)}
    signing.verify(stored, tmp_path / "keys" / "public.pem")
    key = key_of(settings.encryption_key)
    assert Bundle(stored, key).info.model_name == "topics"
    assert Classifier(Bundle(stored, key)).logits(["late parcel"]).argmax() == 1
    with pytest.raises(BundleRefused, match="no key was given"):
        Classifier(stored)

    assert not register().new
    plain = register(encryption_key="")
    assert plain.new
    assert not Bundle(plain.bundle_uri).encrypted

    copy = shutil.copytree(stored, tmp_path / "brought")
    assert step.adopt(copy, settings, registry, "topics").digest == made.digest
    assert present(Registry(registry, "topics").challenger()).version == made.version
