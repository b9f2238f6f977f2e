"""A bundle is loaded only when it is exactly what the owner of the key signed."""

import base64
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import INFO, SIGNATURE, Bundle, contents_of
from slipway.components.errors import BadInput, BundleRefused
from slipway.components.register import signer


@pytest.fixture
def keys(tmp_path: Path) -> signing.KeyPair:
    return signing.key_pair(tmp_path / "keys")


def private_key(keys: signing.KeyPair) -> Path:
    """The file of the private key."""
    assert isinstance(keys.private_key, Path)
    return keys.private_key


@pytest.fixture
def bundle(tmp_path: Path, keys: signing.KeyPair) -> Path:
    """A signed folder; signing does not care what the files mean."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 40)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "bundle.json").write_text('{"labels": ["a", "b"]}')
    signing.sign(folder, keys.private_key)
    return folder


def test_a_signed_bundle_is_accepted(bundle: Path, keys: signing.KeyPair) -> None:
    signing.verify(bundle, keys.public_key)


def test_a_signed_bundle_is_accepted_in_another_folder_and_through_a_link(
    bundle: Path, keys: signing.KeyPair, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (tmp_path / "link").symlink_to(copy)
    signing.verify(copy, keys.public_key)
    signing.verify(tmp_path / "link", keys.public_key)


def test_signing_again_replaces_the_signature(bundle: Path, keys: signing.KeyPair) -> None:
    (bundle / "bundle.json").write_text("{}")
    signing.sign(bundle, keys.private_key)
    signing.verify(bundle, keys.public_key)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "bundle.json"])
def test_one_altered_byte_is_refused_and_its_file_named(bundle: Path, keys: signing.KeyPair, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleRefused, match=f"not what was signed: {name} was altered$"):
        signing.verify(bundle, keys.public_key)


def test_a_missing_file_is_refused_and_named(bundle: Path, keys: signing.KeyPair) -> None:
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(BundleRefused, match="not what was signed: tokenizer.json is missing$"):
        signing.verify(bundle, keys.public_key)


@pytest.mark.parametrize("name", ["extra.txt", ".gitignore", ".signature.json"])
def test_an_added_file_is_refused_and_named(bundle: Path, keys: signing.KeyPair, name: str) -> None:
    (bundle / name).write_text("x")
    with pytest.raises(BundleRefused, match=f"not what was signed: {name} was added$"):
        signing.verify(bundle, keys.public_key)


def test_an_added_folder_is_refused(bundle: Path, keys: signing.KeyPair) -> None:
    (bundle / ".git").mkdir()
    with pytest.raises(BundleRefused, match="plain files only"):
        signing.verify(bundle, keys.public_key)


def test_a_link_is_refused_even_when_its_content_is_right(bundle: Path, keys: signing.KeyPair, tmp_path: Path) -> None:
    shutil.move(bundle / "model.onnx", tmp_path / "elsewhere")
    (bundle / "model.onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefused, match="model.onnx is a link"):
        signing.verify(bundle, keys.public_key)


def test_another_signer_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = signing.key_pair(tmp_path / "other keys")
    with pytest.raises(BundleRefused, match="signed with another key"):
        signing.verify(bundle, other.public_key)


def test_a_forged_key_hint_does_not_help(bundle: Path, keys: signing.KeyPair, tmp_path: Path) -> None:
    signature = bundle / SIGNATURE
    genuine = signature.read_text()
    hint = genuine.split('"hint"')[1].split('"')[1]
    signing.sign(bundle, signing.key_pair(tmp_path / "other keys").private_key)
    forged = signature.read_text().split('"hint"')
    signature.write_text(forged[0] + '"hint"' + forged[1].replace(forged[1].split('"')[1], hint, 1))
    with pytest.raises(BundleRefused, match="altered or forged"):
        signing.verify(bundle, keys.public_key)


def test_an_unsigned_bundle_is_refused(bundle: Path, keys: signing.KeyPair) -> None:
    (bundle / SIGNATURE).unlink()
    with pytest.raises(BundleRefused, match="unsigned"):
        signing.verify(bundle, keys.public_key)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"{}", b"[]", b"null", b'{"verificationMaterial": 7}', b"[" * 100_000, b" " * (2 << 20)],
    ids=["empty", "binary", "object", "list", "null", "wrong type", "deep", "huge"],
)
def test_a_garbage_signature_is_refused(bundle: Path, keys: signing.KeyPair, content: bytes) -> None:
    (bundle / SIGNATURE).write_bytes(content)
    with pytest.raises(BundleRefused, match="not a (model )?signature"):
        signing.verify(bundle, keys.public_key)


def test_a_folder_that_does_not_exist_is_refused(keys: signing.KeyPair, tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match="not a folder"):
        signing.verify(tmp_path / "nothing", keys.public_key)


def test_the_openssf_command_line_accepts_the_signature(bundle: Path, keys: signing.KeyPair) -> None:
    """The command that every model card shows; anybody can verify without Slipway."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", str(bundle / SIGNATURE)]
    subprocess.run([*command, "--public_key", str(keys.public_key), str(bundle)], check=True, timeout=60)


def test_the_private_key_is_readable_by_its_owner_only(keys: signing.KeyPair) -> None:
    assert stat.S_IMODE(private_key(keys).stat().st_mode) == 0o600
    assert stat.S_IMODE(private_key(keys).parent.stat().st_mode) == 0o700


def test_the_key_pair_is_made_once(keys: signing.KeyPair) -> None:
    before = private_key(keys).read_bytes(), keys.public_key.read_bytes()
    assert signing.key_pair(private_key(keys).parent) == keys
    assert (private_key(keys).read_bytes(), keys.public_key.read_bytes()) == before
    assert sorted(os.listdir(private_key(keys).parent)) == ["private.pem", "public.pem"]


def _identity_of_pair(folder: Path) -> str:
    return signing.identity(signing.key_pair(folder).public_key)


def test_processes_that_make_the_pair_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        identities = pool.map(_identity_of_pair, [tmp_path / "shared"] * 32, chunksize=1)
    assert len(set(identities)) == 1


def test_a_lost_public_key_is_made_again(keys: signing.KeyPair) -> None:
    before = signing.identity(keys.public_key)
    keys.public_key.unlink()
    assert signing.identity(signing.key_pair(keys.public_key.parent).public_key) == before


def test_a_mounted_private_key_alone_is_enough_though_its_folder_cannot_be_written(
    bundle: Path, keys: signing.KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, identity = private_key(keys).parent, signing.identity(keys.public_key)
    keys.public_key.unlink()
    monkeypatch.setattr(os, "access", lambda path, _mode: path != folder)  # the tests may run as root
    pair = signing.key_pair(folder)
    assert signing.identity(pair.public_key) == identity
    assert [path.name for path in folder.iterdir()] == ["private.pem"]
    signing.sign(bundle, pair.private_key)
    signing.verify(bundle, pair.public_key)


def test_a_lost_private_key_is_not_replaced_silently(keys: signing.KeyPair) -> None:
    private_key(keys).unlink()
    with pytest.raises(BadInput, match="restore the private key"):
        signing.key_pair(private_key(keys).parent)


def test_keys_that_do_not_belong_together_are_refused(keys: signing.KeyPair, tmp_path: Path) -> None:
    shutil.copy(signing.key_pair(tmp_path / "other keys").public_key, keys.public_key)
    with pytest.raises(BadInput, match="do not belong together"):
        signing.key_pair(keys.public_key.parent)


def test_key_files_that_are_no_keys_are_refused_and_named(bundle: Path, keys: signing.KeyPair) -> None:
    for path in (private_key(keys), keys.public_key):
        path.write_text("not a key")
    with pytest.raises(BadInput, match="private.pem is not"):
        signing.key_pair(private_key(keys).parent)
    with pytest.raises(BadInput, match="private.pem is not"):
        signing.sign(bundle, keys.private_key)
    with pytest.raises(BadInput, match="public.pem is not"):
        signing.verify(bundle, keys.public_key)


def test_a_keys_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file/keys cannot be used"):
        signing.key_pair(tmp_path / "file" / "keys")


def test_the_identity_is_a_fingerprint_of_the_public_key(keys: signing.KeyPair, tmp_path: Path) -> None:
    text = signing.identity(keys.public_key)
    assert text.startswith("sha256:")
    assert len(text) == len("sha256:") + 64
    assert text != signing.identity(signing.key_pair(tmp_path / "other keys").public_key)


def test_a_private_key_that_others_can_read_is_refused_with_the_command_that_mends_it(
    bundle: Path, keys: signing.KeyPair
) -> None:
    for mode in (0o644, 0o640, 0o602):
        private_key(keys).chmod(mode)
        with pytest.raises(BadInput, match=f"has the mode {mode:04o}.*`chmod 600 .*private.pem`"):
            signing.sign(bundle, keys.private_key)
        with pytest.raises(BadInput, match="chmod 600"):
            signing.key_pair(private_key(keys).parent)
    private_key(keys).chmod(0o600)
    signing.sign(bundle, keys.private_key)


def test_bundles_of_the_old_and_the_new_key_are_accepted_while_a_key_is_changed(
    bundle: Path, keys: signing.KeyPair, tmp_path: Path
) -> None:
    new, trusted = signing.key_pair(tmp_path / "new keys"), tmp_path / "trusted"
    trusted.mkdir()
    shutil.copy(keys.public_key, trusted / "public-2025.pem")
    shutil.copy(new.public_key, trusted / "public.pem")
    (trusted / "private.pem").write_text("not looked at")
    signing.verify(bundle, trusted)
    signing.sign(bundle, new.private_key)
    signing.verify(bundle, trusted)
    signing.sign(bundle, signing.key_pair(tmp_path / "strange keys").private_key)
    with pytest.raises(BundleRefused, match="signed with none of the 2 public keys"):
        signing.verify(bundle, trusted)
    signing.sign(bundle, keys.private_key)
    (trusted / "public-2025.pem").unlink()
    with pytest.raises(BundleRefused, match="signed with another key"):
        signing.verify(bundle, trusted)
    (trusted / "public.pem").unlink()
    with pytest.raises(BadInput, match="trusted holds no public key"):
        signing.verify(bundle, trusted)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_refused_digest_is_refused_whoever_signed_it(
    draft_bundle: Path, keys: signing.KeyPair, tmp_path: Path, as_folder: bool
) -> None:
    folder = shutil.copytree(draft_bundle, tmp_path / "signed")
    signing.sign(folder, keys.private_key)
    place = keys.public_key.parent if as_folder else keys.public_key
    wanted = signing.Wanted("messages", Bundle(folder).digest())
    refused = keys.public_key.with_name("refused-digests.txt")
    refused.write_text(f"# withdrawn\n\nsha256:{'0' * 64}\n")
    assert signing.opened(folder, place, wanted).digest() == wanted.digest
    refused.write_text(f"{wanted.digest}  # it leaks a name\n")
    with pytest.raises(BundleRefused, match=f"{wanted.digest}, which refused-digests.txt refuses"):
        signing.opened(folder, place, wanted)
    refused.write_text("sha256:abc\n")
    with pytest.raises(BadInput, match="a line of .*refused-digests.txt is 'sha256:abc'"):
        signing.opened(folder, place, wanted)


def test_what_is_signed_by_its_digests_alone_is_verified_like_a_signed_folder(
    bundle: Path, keys: signing.KeyPair
) -> None:
    (bundle / SIGNATURE).unlink(missing_ok=True)
    digests = signing.digests_of(contents_of(bundle))
    (bundle / SIGNATURE).write_bytes(signing.sign_digests(digests, keys.private_key))
    signing.verify(bundle, keys.public_key)
    (bundle / INFO).write_bytes((bundle / INFO).read_bytes() + b" ")
    with pytest.raises(BundleRefused, match=f"{INFO} was altered"):
        signing.verify(bundle, keys.public_key)


@pytest.mark.parametrize("digests", [{}, {SIGNATURE: "a" * 64}])
def test_nothing_and_a_signature_are_not_signed(keys: signing.KeyPair, digests: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="cannot be signed"):
        signing.sign_digests(digests, keys.private_key)


def test_the_signer_s_program_says_the_signature_and_no_more(
    bundle: Path, keys: signing.KeyPair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / SIGNATURE).unlink(missing_ok=True)
    monkeypatch.setenv(signer.FILES_VARIABLE, json.dumps(signing.digests_of(contents_of(bundle))))
    signer.main(str(private_key(keys).parent))
    (line,) = capsys.readouterr().out.splitlines()
    (bundle / SIGNATURE).write_bytes(base64.b64decode(line.removeprefix(signer.ANSWER)))
    signing.verify(bundle, keys.public_key)
