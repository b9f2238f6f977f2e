"""Signs bundles, and verifies them before they are loaded: OpenSSF model-signing with an ECDSA P-256 key pair.

private.pem   PKCS #8, mode 0600; never leaves the machine or secret store that signs. There is none for a key in KMS.
public.pem    the public key that every server needs to load bundles
"""

import base64
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, manifest, signing, verifying
from model_signing._hashing.hashing import Digest  # has no public name, but a manifest consists of these

from slipway.components import formats
from slipway.components.artifacts import trusted_keys
from slipway.components.artifacts.bundle import SIGNATURE, Bundle, contents_of
from slipway.components.artifacts.encryption import BundleKey
from slipway.components.errors import BadInput, BundleRefused

if TYPE_CHECKING:
    from slipway.components.artifacts.signing_kms import KmsSigningKey
from slipway.components.machine import whole_file

PRIVATE, PUBLIC = "private.pem", "public.pem"
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
            return KeyPair(key, _public_file(folder, _public_pem(key), signing_key))
        private_key = folder / PRIVATE
        if not private_key.exists():
            # The second check of the private key: another process may have made the pair since the first one.
            if (folder / PUBLIC).exists() and not private_key.exists():
                raise BadInput(
                    f"{folder} has {PUBLIC} but not {PRIVATE}; restore the private key, or remove {PUBLIC} for a new "
                    "pair (bundles signed with the old one are then refused)"
                )
            _write_once(private_key, _private_pem(ec.generate_private_key(ec.SECP256R1())))
        return KeyPair(private_key, _public_file(folder, _public_pem(_load_private(private_key)), PRIVATE))
    except OSError as error:
        raise BadInput(
            f"the signing keys in {folder} cannot be used ({error}); set another folder for them, or on a cluster make "
            "the Secret by `manifests/install.sh secrets`"
        ) from error


def _public_file(folder: Path, public: bytes, signer: str) -> Path:
    """The file with the public key of a signer, which is written if it does not exist."""
    path = folder / PUBLIC
    if not path.exists() and not os.access(folder, os.W_OK):
        path = Path(tempfile.mkdtemp(prefix="slipway-public-key-")) / PUBLIC
    _write_once(path, public)
    if path.read_bytes() != public:
        raise BadInput(
            f"{PUBLIC} in {folder} and {signer} do not belong together; rename (any *.pem is trusted) or remove it"
        )
    return path


def identity(public_key: Path) -> str:
    """The signer's fingerprint: `sha256:…` over the DER form of the public key (SubjectPublicKeyInfo).

    Raises:
        BadInput: the file is not a public key.
    """
    der = _load_public(public_key).public_bytes(
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
        _load_private(private_key)
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
        _load_public(key)
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


def _write_once(path: Path, content: bytes) -> None:
    """Write a file as a whole and with mode 0600, unless it exists. Of several writers the first one wins."""
    if path.exists():
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        whole_file.sync(Path(temporary))
        os.link(temporary, path)  # fails if the file exists, where a rename would replace it
        whole_file.sync(path.parent)  # what the key signs must not outlive it when power is lost
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: "ec.EllipticCurvePrivateKey | KmsSigningKey") -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _check_private(path: Path) -> None:
    """Refuse a private key that other users of this machine can read or change.

    Files on a read-only file system are accepted: Kubernetes mounts a Secret so, for one pod, where the mode of the
    file protects it from nobody.
    """
    mode = path.stat().st_mode
    if mode & 0o077 and not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise BadInput(
            f"the private key {path} has the mode {stat.S_IMODE(mode):04o}, so others can read or change it; "
            f"`chmod 600 {shlex.quote(str(path))}`, and make a new pair if somebody may have read it"
        )


def _load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        _check_private(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not an unencrypted PEM private key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path} is not an ECDSA P-256 key; remove both key files for a new pair")
    return key


def _load_public(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{path} is not a PEM public key ({error})") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(f"{path} is not an ECDSA P-256 public key; give the signer's {PUBLIC}")
    return key
