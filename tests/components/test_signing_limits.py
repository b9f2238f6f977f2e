"""Where signing and verifying stop: sizes, kinds of keys, and what is no plain file."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from slipway.components.artifacts import key_files, signing, trusted_keys
from slipway.components.artifacts.bundle import SIGNATURE, Bundle, contents_of
from slipway.components.errors import BadInput, BundleRefused


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> signing.KeyPair:
    return signing.key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def bundle(tmp_path: Path, keys: signing.KeyPair) -> Path:
    """A signed folder; signing does not care what the files mean."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(bytes(range(256)))
    (folder / "bundle.json").write_text("{}")
    keys.sign(folder)
    return folder


@pytest.mark.parametrize(("over", "refused"), [(0, False), (1, True)])
def test_a_signature_has_at_most_one_mebibyte(bundle: Path, keys: signing.KeyPair, over: int, refused: bool) -> None:
    genuine = (bundle / SIGNATURE).read_bytes()
    (bundle / SIGNATURE).write_bytes(genuine + b" " * (2**20 - len(genuine) + over))
    if not refused:
        signing.verify(bundle, keys.public_key)
        return
    with pytest.raises(BundleRefused, match=r"signature.json is larger than 1048576 bytes, so it is not a signature"):
        signing.verify(bundle, keys.public_key)


OTHER_KEYS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "another curve": lambda: ec.generate_private_key(ec.SECP384R1()),
    "another curve of 256 bits": lambda: ec.generate_private_key(ec.SECP256K1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("make", OTHER_KEYS.values(), ids=OTHER_KEYS.keys())
def test_a_key_of_another_kind_neither_signs_nor_verifies(
    bundle: Path, tmp_path: Path, make: Callable[[], PrivateKeyTypes]
) -> None:
    key, folder = make(), tmp_path / "other"
    folder.mkdir(mode=0o700)
    private, public = folder / key_files.PRIVATE, folder / key_files.PUBLIC
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    before = (bundle / SIGNATURE).read_bytes()
    ask: Callable[[], object]
    for ask in (lambda: signing.sign(bundle, private), lambda: signing.key_pair(folder)):
        with pytest.raises(BadInput, match=r"private.pem is not an ECDSA P-256 key; remove both key files"):
            ask()
    for ask in (lambda: signing.verify(bundle, public), lambda: signing.identity(public)):
        with pytest.raises(
            BadInput, match=r"public.pem is not an ECDSA P-256 public key; give the signer's public.pem"
        ):
            ask()
    assert (bundle / SIGNATURE).read_bytes() == before


def test_folders_above_the_keys_are_made(tmp_path: Path) -> None:
    pair = signing.key_pair(tmp_path / "new" / "folder" / "keys")
    assert signing.key_pair(tmp_path / "new" / "folder" / "keys") == pair


def test_an_encrypted_private_key_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "encrypted.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(BadInput, match="encrypted.pem is not an unencrypted PEM private key"):
        signing.sign(bundle, path)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [a_pipe, a_socket, a_folder, a_broken_link, a_link_to_a_device])
@pytest.mark.parametrize("name", ["extra", "model.onnx", SIGNATURE])
def test_what_is_no_plain_file_is_refused_at_once_wherever_it_is(
    bundle: Path, keys: signing.KeyPair, put: Callable[[Path], None], name: str
) -> None:
    (bundle / name).unlink(missing_ok=True)
    put(bundle / name)
    words = rf"{name} (is a link, a folder or a device; a bundle has plain files only|cannot be read)"
    ask: Callable[[], object]
    for ask in (lambda: signing.verify(bundle, keys.public_key), lambda: contents_of(bundle)):
        with pytest.raises(BundleRefused, match=words):
            ask()
    with pytest.raises(BundleRefused, match=words):
        keys.sign(bundle)


def test_a_file_is_no_bundle_and_a_link_to_one_is_its_folder(
    bundle: Path, keys: signing.KeyPair, tmp_path: Path
) -> None:
    with pytest.raises(BundleRefused, match="model.onnx is not a folder"):
        signing.verify(bundle / "model.onnx", keys.public_key)
    (tmp_path / "link").symlink_to(bundle)
    assert signing.verify(tmp_path / "link", keys.public_key) == contents_of(bundle)


def test_another_bundle_of_the_same_signer_is_not_the_one_that_is_meant(
    draft_bundle: Path, keys: signing.KeyPair, tmp_path: Path
) -> None:
    folder = shutil.copytree(draft_bundle, tmp_path / "signed")
    keys.sign(folder)
    digest = Bundle(folder).digest()
    other = f"sha256:{'0' * 64}"
    assert signing.opened(folder, keys.public_key, signing.Wanted("messages", digest)).digest() == digest
    assert signing.opened(folder, keys.public_key, signing.Wanted("messages")).digest() == digest
    with pytest.raises(BundleRefused, match=f"is the bundle {digest}; asked for was {other}"):
        signing.opened(folder, keys.public_key, signing.Wanted("messages", other))
    with pytest.raises(BundleRefused, match="is a bundle of the model 'messages'; asked for was 'letters'"):
        signing.opened(folder, keys.public_key, signing.Wanted("letters", digest))


def test_what_is_verified_is_what_is_loaded(bundle: Path, keys: signing.KeyPair) -> None:
    verified = signing.verify(bundle, keys.public_key)
    (bundle / "model.onnx").write_bytes(b"exchanged")
    assert verified["model.onnx"] == bytes(range(256))
    assert set(verified) == {"model.onnx", "bundle.json", SIGNATURE}


def test_a_key_in_a_folder_of_keys_must_be_one_too(bundle: Path, keys: signing.KeyPair, tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(keys.public_key, trusted / "a.pem")
    (trusted / "readme.txt").write_text("no key")
    assert trusted_keys.public_keys(trusted) == [trusted / "a.pem"]
    signing.verify(bundle, trusted)
    (trusted / "b.pem").write_text("no key")
    with pytest.raises(BadInput, match="b.pem is not a PEM public key"):
        signing.verify(bundle, trusted)


def test_a_list_of_refused_digests_that_cannot_be_read_stops_everything(keys: signing.KeyPair, tmp_path: Path) -> None:
    assert trusted_keys.refused_digests(tmp_path) == frozenset()
    (tmp_path / trusted_keys.REFUSED).write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"refused-digests.txt cannot be read .*; it lists a digest a line"):
        trusted_keys.refused_digests(tmp_path)
    shutil.copy(keys.public_key, tmp_path / "public.pem")
    with pytest.raises(BadInput, match="cannot be read"):
        trusted_keys.refused_digests(tmp_path / "public.pem")
