"""Bundles, datasets and checkpoints of an earlier release."""

import shutil
from pathlib import Path

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.encryption import key_of
from slipway.components.artifacts.onnx_classifier import Classifier
from tests.serving.conftest import starting
from tests.upgrade.conftest import DIGESTS, THEN

LABELS = ["account", "billing", "delivery"]
WANTED = signing.Wanted("messages", f"sha256:{DIGESTS['1']}")


def test_a_bundle_is_what_was_signed_and_answers() -> None:
    bundle = signing.opened(THEN / "bundles" / "1", THEN / "public.pem", WANTED)
    assert bundle.info.labels == LABELS
    probabilities = Classifier(bundle).probabilities(["parcel late please"])
    assert LABELS[probabilities[0].argmax()] == "delivery"


def test_an_encrypted_bundle_is_opened_with_its_key() -> None:
    wanted = signing.Wanted("messages")
    bundle = signing.opened(
        THEN / "bundles" / "encrypted", THEN / "public.pem", wanted, key_of(str(THEN / "bundle-key"))
    )
    assert bundle.encrypted
    assert bundle.info.labels == LABELS


@pytest.mark.parametrize("name", ["1", "encrypted"])
def test_a_server_of_today_serves_a_bundle(name: str, tmp_path: Path) -> None:
    shutil.copytree(THEN / "bundles" / name, tmp_path / "bundle")
    options: list[str | Path] = ["--public_key", THEN / "public.pem"]
    if name == "encrypted":
        options += ["--decryption_key", THEN / "bundle-key"]
    with starting(tmp_path) as start:
        answer = start(tmp_path / "bundle", *options).wait_ready().infer("parcel late please")
    assert answer.status_code == 200
    assert {tensor["name"]: tensor["data"] for tensor in answer.json()["outputs"]}["label"] == ["delivery"]


def test_a_dataset_and_the_checkpoint_of_its_training_are_read() -> None:
    data = TextDataset(THEN / "dataset")
    assert data.labels == LABELS
    assert len(data.texts("train")) == len(data.label_ids("train")) == data.info["rows"]["train"]
    model, _, info = load_checkpoint(THEN / "checkpoint")
    assert info["dataset_digest"] == data.digest
    assert model.config.num_labels == len(LABELS)
