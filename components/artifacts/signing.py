"""Signs bundles, and verifies them before they are loaded: OpenSSF model-signing with an ECDSA P-256 key pair."""

import base64
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from model_signing import hashing, manifest, signing, verifying
from model_signing._hashing.hashing import Digest  # has no public name, but a manifest consists of these

from slipway.components import formats
from slipway.components.artifacts import key_files, trusted_keys
from slipway.components.artifacts.bundle import SIGNATURE, Bundle, contents_of
from slipway.components.artifacts.encryption import BundleKey
from slipway.components.errors import BadInput, BundleRefused

if TYPE_CHECKING:
    from slipway.components.artifacts.signing_kms import KmsSigningKey

FORMAT = 1
"""Format of signatures: the major version of model-signing's predicate."""
_PREDICATE = re.compile(r"https://model_signing/signature/v(\d{1,9})\.\d{1,9}")
SIGNATURE_LIMIT = 1 << 20
"""Most bytes of a signature, which has about 2 KB. A larger file is refused without parsing it."""


class Signer(Protocol):
    """Signs bundles, with a key on this machine or elsewhere."""

    @property
    def public_key(self) -> Path:
        """The PEM file with the public key, by which the signatures are verified."""

    def sign(self, bundle: Path) -> None:
        """Write `signature.json` over all other files of the bundle."""


@dataclass(frozen=True)
class KeyPair:
    """The private key of a signer, a PEM file or a key in KMS, and the PEM file with the public key."""

    private_key: "Path | KmsSigningKey"
    public_key: Path

    def sign(self, bundle: Path) -> None:
        """See the function `sign`."""
        sign(bundle, self.private_key)


def key_pair(folder: Path, signing_key: str = "") -> KeyPair:
    """The key pair in `folder`, which is made at the first use. Processes that start together get the same pair.

    If the folder has only `private.pem`, `public.pem` is added. If the folder cannot be written (a mounted Secret, for
    example), the public key goes to a temporary folder.

    With a `signing_key` (`awskms:///` and a key in KMS) there is no `private.pem`, and `public.pem` belongs to that
    key.

    Raises:
        BadInput: the folder or KMS cannot be used, the private key is missing, a key is not a P-256 key, or the two
            keys do not belong together.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if signing_key:
            # Imported here, since it is rarely used, and never by servers.
            from slipway.components.artifacts.signing_kms import KmsSigningKey

            key = KmsSigningKey(signing_key)
            return KeyPair(key, key_files.public_file(folder, key.public_key(), signing_key))
        private_key = key_files.private_file(folder)
        public_key = key_files.load_private(private_key).public_key()
        return KeyPair(private_key, key_files.public_file(folder, public_key, key_files.PRIVATE))
    except OSError as error:
        raise BadInput(
            f"the signing keys in {folder} cannot be used ({error}); set another folder for them, or on a cluster make "
            "the Secret by `manifests/install.sh secrets`"
        ) from error


def identity(public_key: Path) -> str:
    """The signer's fingerprint: `sha256:…` over the DER form of the public key (SubjectPublicKeyInfo).

    Raises:
        BadInput: the file is not a public key.
    """
    der = key_files.load_public(public_key).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def sign(bundle: Path, private_key: "Path | KmsSigningKey") -> None:
    """Write `signature.json` over all other files of the bundle.

    Raises:
        BadInput: the private key or KMS cannot be used.
        BundleRefused: the bundle contains something other than plain files.
    """
    folder = bundle.resolve()
    (folder / SIGNATURE).write_bytes(sign_digests(digests_of(contents_of(folder)), private_key))


def sign_digests(digests: Mapping[str, str], private_key: "Path | KmsSigningKey") -> bytes:
    """The content of `signature.json` for a bundle, made from the digests of its files alone.

    Args:
        digests: SHA-256 of each file except the signature, in hexadecimal digits, by name.
        private_key: a PEM file, or a key in KMS.

    Raises:
        BadInput: the private key or KMS cannot be used, or there is nothing to sign.
    """
    if not digests or SIGNATURE in digests:
        raise BadInput(f"a bundle with the files {sorted(digests)} cannot be signed; expected all but {SIGNATURE}")
    config = signing.Config().set_hashing_config(_Digests(digests))  # type: ignore[no-untyped-call]
    if isinstance(private_key, Path):
        key_files.load_private(private_key)
        config.use_elliptic_key_signer(private_key=private_key)
    else:
        from slipway.components.artifacts.signing_kms import KmsSigner

        config._signer = KmsSigner(private_key)  # use_elliptic_key_signer sets this attribute too, but only from a file
    with tempfile.NamedTemporaryFile(suffix=f".{SIGNATURE}") as signature:
        config.sign(Path("bundle"), Path(signature.name))
        return signature.read()


def digests_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file except the signature, in hexadecimal digits, by name; for `sign_digests`."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items() if name != SIGNATURE}


class Wanted(NamedTuple):
    """Which bundle to load. A valid signature alone does not show that a bundle is this model or this version."""

    model_name: str
    digest: str = ""
    """Digest of the bundle; empty for any bundle that was signed for the model, even an older one."""


def opened(folder: Path, public_key: Path, wanted: Wanted, decryption_key: BundleKey | None = None) -> Bundle:
    """Verify the bundle in a folder, and return it in memory.

    Args:
        folder: folder of the bundle.
        public_key: a PEM file, or a folder of them.
        wanted: which bundle it must be.
        decryption_key: opens an encrypted bundle; None for the key in the environment.

    Raises:
        BundleRefused: as `verify`; or it is not the wanted bundle, or is on the list of refused ones.
        BadInput: as `verify` and `Bundle`.
    """
    bundle = Bundle(folder, decryption_key, verify(folder, public_key))
    check_digest(bundle, wanted.digest)
    if bundle.digest() in trusted_keys.refused_digests(public_key):
        raise BundleRefused(f"{folder} is the bundle {bundle.digest()}, which {trusted_keys.REFUSED} refuses")
    if bundle.info.model_name != wanted.model_name:
        raise BundleRefused(
            f"{folder} is a bundle of the model {bundle.info.model_name!r}; asked for was {wanted.model_name!r}"
        )
    return bundle


def check_digest(bundle: Bundle, digest: str) -> None:
    """Raise BundleRefused if the bundle does not have this digest; an empty digest stands for any."""
    actual = bundle.digest()
    if digest and actual != digest:
        raise BundleRefused(f"{bundle.folder} is the bundle {actual}; asked for was {digest}")


def verify(bundle: Path, public_key: Path) -> dict[str, bytes]:
    """Verify that a bundle is exactly what the owner of the key, or of one of several keys, signed.

    Each file is read once, and the bytes that were verified are returned. So load the model from them: the files in the
    folder may be exchanged at any time.

    Args:
        bundle: folder of the bundle.
        public_key: a PEM file, or a folder of them; see `slipway.components.artifacts.trusted_keys`.

    Returns:
        the content of each file, by name.

    Raises:
        BundleRefused: the bundle is unsigned or signed by someone else, or a file was altered, added or removed.
        BadInput: a public key cannot be used, or the signature has a later format.
    """
    keys = trusted_keys.public_keys(public_key)
    for key in keys:
        key_files.load_public(key)
    contents = contents_of(bundle.resolve())
    if SIGNATURE not in contents:
        raise BundleRefused(f"{bundle} is unsigned: it has no {SIGNATURE}")
    if len(contents[SIGNATURE]) > SIGNATURE_LIMIT:
        raise BundleRefused(f"{bundle / SIGNATURE} is larger than {SIGNATURE_LIMIT} bytes, so it is not a signature")
    with tempfile.NamedTemporaryFile(suffix=f".{SIGNATURE}") as signature:
        signature.write(contents[SIGNATURE])
        signature.flush()
        _check_format(bundle / SIGNATURE, contents[SIGNATURE])
        if not any(_signed_with(key, bundle, contents, Path(signature.name)) for key in keys):
            signer = (
                "another key than the given public key" if len(keys) == 1 else f"none of the {len(keys)} public keys"
            )
            raise BundleRefused(f"{bundle} is signed with {signer}")
    return contents


def _check_format(path: Path, signature: bytes) -> None:
    """Raise BadInput if the signature has a later format. Nothing else is read from it before it is verified."""
    try:
        statement = json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
        version = _PREDICATE.fullmatch(statement["predicateType"])
    except (ValueError, KeyError, TypeError, RecursionError):  # the signature is damaged, which the verifier reports
        return
    if version:
        formats.check_number(path, int(version[1]), FORMAT)


def _signed_with(key: Path, bundle: Path, contents: Mapping[str, bytes], signature: Path) -> bool:
    """Whether the bundle is signed with this key. Raises BundleRefused if the signature is invalid."""
    known = _Digests(digests_of(contents))
    config = verifying.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(known)  # type: ignore[no-untyped-call]
    try:
        config.verify(bundle, signature)
    except InvalidSignature as error:
        raise BundleRefused(f"the signature of {bundle} is invalid: it was altered or forged") from error
    except Exception as error:  # the signature is untrusted input, so any error of its parser refuses the bundle
        if str(error).startswith("Key mismatch"):
            return False
        raise BundleRefused(_reason(bundle, error)) from error
    return True


class _Digests(hashing.Config):
    """A hashing configuration with known digests. A folder that is hashed could change meanwhile, or be elsewhere."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._digests = digests

    def hash(self, model_path: Any, *, files_to_hash: Any = None) -> manifest.Manifest:  # noqa: ARG002
        """The manifest of all files."""
        items = [
            manifest.FileManifestItem(path=PurePosixPath(name), digest=Digest("sha256", bytes.fromhex(digest)))
            for name, digest in self._digests.items()
        ]
        serialization_type = manifest.SerializationType.from_args(
            {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        )
        return manifest.Manifest(str(model_path), items, serialization_type)

    def add_ignored_paths(self, *, model_path: Any, paths: Any) -> None:
        """Does nothing: a signer must not decide which files are not verified."""


def _reason(bundle: Path, error: Exception) -> str:
    text = str(error).replace("\\", "")
    if text.startswith("Signature mismatch"):
        altered = [f"{name} was altered" for name in re.findall(r"Hash mismatch for '([^']+)'", text)]
        missing = [f"{names} is missing" for names in re.findall(r"Missing files in model '[^']*': ([^\"]+)", text)]
        added = [f"{names} was added" for names in re.findall(r"Extra files found in model '[^']*': ([^\"]+)", text)]
        return f"{bundle} is not what was signed: {'; '.join(altered + missing + added) or text}"
    return f"{SIGNATURE} of {bundle} is not a model signature ({type(error).__name__}: {text[:200]})"
