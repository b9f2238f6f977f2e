"""An encrypted bundle is as good as a plain one to the holder of its key, and of no use to anyone else."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import CARD, DRAFT_FILES, Bundle
from slipway.components.artifacts.encryption import (
    ENVELOPE,
    VARIABLE,
    BundleKey,
    Envelope,
    KeyFile,
    KmsKey,
    encrypt,
    key_of,
)
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.errors import BadInput, BundleRefused
from slipway.components.platforms import storage

TEXTS = ["parcel courier late", "invoice charged please"]


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def key_file(folder: Path, name: str = "key") -> Path:
    path = folder / name
    path.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
    return path


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile(key_file(tmp_path))


def encrypted_copy(draft: Path, folder: Path, key: BundleKey) -> Path:
    shutil.copytree(draft, folder)
    (folder / CARD).write_text("# for people")
    encrypt(folder, DRAFT_FILES, key)
    return folder


@pytest.fixture
def bundle(draft_bundle: Path, tmp_path: Path, key: KeyFile) -> Path:
    return encrypted_copy(draft_bundle, tmp_path / "bundle", key)


def refusal(folder: Path, key: BundleKey | None) -> str:
    """Why a bundle cannot be used with a key."""
    with pytest.raises(BundleRefused) as refused:
        Classifier(Bundle(folder, key))
    return str(refused.value)


def test_with_its_key_it_answers_as_the_plain_bundle(bundle: Path, draft_bundle: Path, key: KeyFile) -> None:
    opened = Bundle(bundle, key)
    assert opened.encrypted
    assert opened.info == Bundle(draft_bundle).info
    plain = Classifier(draft_bundle).logits(TEXTS)
    np.testing.assert_array_equal(Classifier(opened).logits(TEXTS), plain)


def test_the_key_may_come_from_the_environment(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
    assert Classifier(bundle).logits(TEXTS).shape == (2, 3)


def test_nothing_of_it_is_readable(bundle: Path, draft_bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == sorted(
        [CARD, ENVELOPE, *(f"{name}.enc" for name in DRAFT_FILES)]
    )
    stored = b"".join(path.read_bytes() for path in bundle.iterdir())
    for part in (b"billing", b"input_ids", b"courier", (draft_bundle / "model.onnx").read_bytes()[1000:1032]):
        assert part not in stored


def test_reading_it_writes_nothing(bundle: Path, key: KeyFile, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    Classifier(Bundle(bundle, key)).logits(TEXTS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_without_a_key_it_is_refused_but_its_digest_can_be_told(bundle: Path, key: KeyFile) -> None:
    assert Bundle(bundle).digest() == Bundle(bundle, key).digest()
    assert f"file key {key.id}" in refusal(bundle, None)
    assert VARIABLE in refusal(bundle, None)


def test_another_key_is_refused_and_both_are_named(bundle: Path, key: KeyFile, tmp_path: Path) -> None:
    other = KeyFile(key_file(tmp_path, "other"))
    assert key.id in refusal(bundle, other)
    assert other.id in refusal(bundle, other)
    assert "another kind" in refusal(bundle, KmsKey("some-key"))


@pytest.mark.parametrize("name", DRAFT_FILES)
@pytest.mark.parametrize("place", [0, 100, -1], ids=["nonce", "ciphertext", "tag"])
def test_one_altered_bit_is_refused_and_its_file_named(bundle: Path, key: KeyFile, name: str, place: int) -> None:
    path = bundle / f"{name}.enc"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert f"{name}.enc cannot be decrypted" in refusal(bundle, key)


@pytest.mark.parametrize("length", [0, 11, 12, 27])
def test_a_cut_file_is_refused(bundle: Path, key: KeyFile, length: int) -> None:
    path = bundle / "model.onnx.enc"
    path.write_bytes(path.read_bytes()[:length])
    assert "cannot be decrypted" in refusal(bundle, key)


def test_files_cannot_be_swapped_within_a_bundle(bundle: Path, key: KeyFile) -> None:
    shutil.copyfile(bundle / "tokenizer.json.enc", bundle / "bundle.json.enc")
    assert "bundle.json.enc cannot be decrypted" in refusal(bundle, key)


def test_files_cannot_be_taken_from_another_bundle_even_with_its_envelope(
    bundle: Path, draft_bundle: Path, key: KeyFile, tmp_path: Path
) -> None:
    other = encrypted_copy(draft_bundle, tmp_path / "other", key)
    shutil.copyfile(other / "model.onnx.enc", bundle / "model.onnx.enc")
    assert "model.onnx.enc cannot be decrypted" in refusal(bundle, key)
    ours, theirs = (json.loads((folder / ENVELOPE).read_text()) for folder in (bundle, other))
    (bundle / ENVELOPE).write_text(json.dumps(ours | {"wrapped": theirs["wrapped"]}))
    assert "wrapped data key" in refusal(bundle, key)
    (bundle / ENVELOPE).write_text(json.dumps(theirs | {"bundle": ours["bundle"]}))
    assert "wrapped data key" in refusal(bundle, key)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 0}'])
def test_a_garbage_envelope_is_refused(bundle: Path, key: KeyFile, content: str) -> None:
    (bundle / ENVELOPE).write_text(content)
    assert "does not describe an encrypted bundle" in refusal(bundle, key)


def test_no_two_bundles_share_a_data_key_or_a_nonce(draft_bundle: Path, tmp_path: Path, key: KeyFile) -> None:
    folders = [encrypted_copy(draft_bundle, tmp_path / str(number), key) for number in range(3)]
    envelopes = [Envelope.model_validate_json((folder / ENVELOPE).read_text()) for folder in folders]
    assert len({key.unwrap(envelope) for envelope in envelopes}) == 3
    assert len({(folder / f"{name}.enc").read_bytes()[:12] for folder in folders for name in DRAFT_FILES}) == 9


def test_the_signature_is_over_what_is_encrypted(bundle: Path, tmp_path: Path) -> None:
    pair = signing.key_pair(tmp_path / "signer")
    signing.sign(bundle, pair.private_key)
    signing.verify(bundle, pair.public_key)
    (bundle / "model.onnx.enc").write_bytes(b"other")
    with pytest.raises(BundleRefused, match=r"model\.onnx\.enc was altered"):
        signing.verify(bundle, pair.public_key)


def test_it_can_be_stored_and_fetched_like_any_bundle(bundle: Path, tmp_path: Path) -> None:
    place = tmp_path / "store" / "bundle"
    for _ in range(2):  # the second time it is replaced
        storage.upload_folder(bundle, str(place))
    storage.download_folder(str(place), tmp_path / "copy")
    assert Bundle(tmp_path / "copy").digest() == Bundle(bundle).digest()


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"A" * 43, base64.b64encode(b"x" * 16), b"not base64 at all!"])
def test_a_file_that_holds_no_key_is_named_with_a_way_to_make_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(BadInput, match=r"(?s)key.*openssl rand -base64 32"):
        key_of(str(tmp_path / "key"))
    with pytest.raises(BadInput, match="nowhere cannot be read"):
        key_of(str(tmp_path / "nowhere"))


def test_a_key_may_be_raw_bytes(bundle: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(base64.b64decode((tmp_path / "key").read_bytes()))
    assert Bundle(bundle, key_of(str(raw))).info.labels == ["billing", "delivery", "account"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a KMS server on this machine."""
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def kms_key(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    values = {"AWS_ENDPOINT_URL": server, "AWS_DEFAULT_REGION": "eu-central-1"}
    values |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    created: str = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
    return created


def test_a_bundle_opens_with_its_kms_key_named_or_not(draft_bundle: Path, tmp_path: Path, kms_key: str) -> None:
    folder = encrypted_copy(draft_bundle, tmp_path / "kms", key_of(f"kms:{kms_key}"))
    for reference in (f"kms:{kms_key}", "kms:"):
        assert Bundle(folder, key_of(reference)).info == Bundle(draft_bundle).info
    assert kms_key in (folder / ENVELOPE).read_text()


def test_the_wrapped_key_is_bound_to_its_bundle(draft_bundle: Path, tmp_path: Path, kms_key: str) -> None:
    folder = encrypted_copy(draft_bundle, tmp_path / "kms", key_of(f"kms:{kms_key}"))
    envelope = json.loads((folder / ENVELOPE).read_text())
    (folder / ENVELOPE).write_text(json.dumps(envelope | {"bundle": "0" * 32}))
    assert "KMS does not unwrap" in refusal(folder, key_of("kms:"))


def test_another_or_an_unknown_kms_key_does_not_open_it(draft_bundle: Path, tmp_path: Path, kms_key: str) -> None:
    folder = encrypted_copy(draft_bundle, tmp_path / "kms", key_of(f"kms:{kms_key}"))
    with pytest.raises(BadInput, match=r"'no-such-key' cannot be used \(NotFoundException\)"):
        _ = Bundle(folder, key_of("kms:no-such-key")).info
    assert "another kind" in refusal(folder, KeyFile(key_file(tmp_path)))


def test_a_key_is_needed_to_encrypt(draft_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="names no key"):
        encrypted_copy(draft_bundle, tmp_path / "kms", key_of("kms:"))


def test_a_kms_that_does_not_answer_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    with pytest.raises(BadInput, match="KMS cannot be used") as refused:
        key_of("kms:a-key").new_data_key("0")
    assert "secret" not in str(refused.value)
