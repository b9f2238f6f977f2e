"""Encrypts bundles with AES-256-GCM (NIST SP 800-38D), and decrypts them in memory only.

    model.onnx.enc  tokenizer.json.enc  bundle.json.enc    nonce (12 bytes), ciphertext, tag (16 bytes)
    encryption.json                                        the bundle's id and its wrapped data key (`Envelope`)
    model-card.md  signature.json                          not encrypted; the signature is over the encrypted files

Each bundle has a data key of its own, which a key file or AWS KMS wraps. The additional authenticated data of a file
contain the format, the bundle's id and the file's name. So no file can be put in the place of another file, of the same
bundle or of another one.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Base64Bytes, BaseModel, ConfigDict, ValidationError

from slipway.components import formats
from slipway.components.errors import BadInput, BundleRefused
from slipway.components.platforms import kms

ENVELOPE = "encryption.json"
SUFFIX = ".enc"
FORMAT: Literal[1] = 1
"""Format of `encryption.json` and of the encrypted files; see `slipway.components.formats`."""
KMS = "kms:"
"""Prefix of a reference to a key in KMS."""
VARIABLE = "SLIPWAY_DECRYPTION_KEY"
"""Environment variable with the key of encrypted bundles; used if no key is given otherwise."""
KEY_BYTES, NONCE_BYTES = 32, 12
CONTEXT = "slipway-bundle"
"""Name in the encryption context of KMS, which has the bundle's id as its value."""
REFUSED_BY_KMS = {"InvalidCiphertextException", "IncorrectKeyException", "KMSInvalidStateException"}
"""Error codes of KMS that concern the wrapped key, and not the access to KMS."""


class Envelope(BaseModel):
    """The content of `encryption.json`. It contains no secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    algorithm: Literal["AES-256-GCM"] = "AES-256-GCM"
    bundle: str
    """Random id of the bundle, part of every file's additional authenticated data."""
    key_kind: Literal["file", "kms"]
    key_id: str
    """The start of a key file's digest, or the ARN of a key in KMS."""
    wrapped: Base64Bytes
    """The data key, encrypted with that key."""


class BundleKey(Protocol):
    """A key that wraps data keys."""

    kind: Literal["file", "kms"]

    def new_data_key(self, bundle: str) -> tuple[bytes, bytes, str]:
        """Make a data key; returns it, the same key wrapped for the bundle, and the id of the wrapping key."""

    def unwrap(self, envelope: Envelope) -> bytes:
        """The data key. Raises BundleRefused if it was not wrapped by this key for this bundle."""


def key_of(reference: str) -> BundleKey:
    """The key that a setting or option names: a path, `kms:KEY-ID`, or `kms:` for the key that the bundle names.

    Raises:
        BadInput: the file cannot be read or does not contain a key.
    """
    return KmsKey(reference.removeprefix(KMS)) if reference.startswith(KMS) else KeyFile(Path(reference))


def default_key() -> BundleKey | None:
    """The key in the environment variable `VARIABLE`; None if it is not set. Raises as `key_of`."""
    reference = os.environ.get(VARIABLE)
    return key_of(reference) if reference else None


class KeyFile:
    """A file with a key of 32 random bytes, raw or in base64; for example a mounted Kubernetes Secret.

    Raises:
        BadInput: the file cannot be read or does not contain a key.
    """

    kind: Literal["file", "kms"] = "file"

    def __init__(self, path: Path) -> None:
        advice = f"make one by `openssl rand -base64 {KEY_BYTES} > {path.name}`"
        try:
            content = path.expanduser().read_bytes()
        except OSError as error:
            raise BadInput(f"the key file {path} cannot be read ({error.strerror}); {advice}") from error
        if len(content) != KEY_BYTES:
            try:
                content = base64.b64decode(content.strip(), validate=True)
            except ValueError as error:
                raise BadInput(f"{path} does not hold {KEY_BYTES} bytes, nor those in base64; {advice}") from error
        if len(content) != KEY_BYTES:
            raise BadInput(f"{path} holds a key of {len(content)} bytes; expected {KEY_BYTES}; {advice}")
        self.id = hashlib.sha256(b"slipway key id\0" + content).hexdigest()[:16]
        self._key = AESGCM(content)

    def new_data_key(self, bundle: str) -> tuple[bytes, bytes, str]:
        """See `BundleKey`."""
        data_key = secrets.token_bytes(KEY_BYTES)
        return data_key, _seal(self._key, data_key, _bound_to(bundle, "")), self.id

    def unwrap(self, envelope: Envelope) -> bytes:
        """See `BundleKey`."""
        _check_kind(self.kind, envelope)
        if envelope.key_id != self.id:
            raise BundleRefused(f"the bundle is encrypted with the key {envelope.key_id}; the given one is {self.id}")
        try:
            return _opened(self._key, envelope.wrapped, _bound_to(envelope.bundle, ""))
        except InvalidTag as error:
            raise BundleRefused(f"the wrapped data key in {ENVELOPE} was altered") from error


class KmsKey:
    """A symmetric key in AWS KMS, or in a service with the same API. Credentials are those of AWS (`AWS_*`, roles).

    Args:
        key_id: id, ARN or alias of the key; empty for the key that a bundle names (for decryption only).
    """

    kind: Literal["file", "kms"] = "kms"

    def __init__(self, key_id: str = "") -> None:
        self._key_id = key_id

    def new_data_key(self, bundle: str) -> tuple[bytes, bytes, str]:
        """See `BundleKey`. Raises BadInput if KMS cannot be used."""
        if not self._key_id:
            raise BadInput(f"{KMS} names no key to encrypt with; give {KMS}KEY-ID")
        response = self._call("generate_data_key", self._key_id, KeySpec="AES_256", EncryptionContext=_context(bundle))
        return response["Plaintext"], response["CiphertextBlob"], response["KeyId"]

    def unwrap(self, envelope: Envelope) -> bytes:
        """See `BundleKey`. Raises BadInput if KMS cannot be used."""
        _check_kind(self.kind, envelope)
        context = _context(envelope.bundle)
        key_id = self._key_id or envelope.key_id
        response = self._call("decrypt", key_id, CiphertextBlob=envelope.wrapped, EncryptionContext=context)
        data_key: bytes = response["Plaintext"]
        return data_key

    def _call(self, operation: str, key_id: str, **arguments: Any) -> dict[str, Any]:
        try:
            return kms.ask(operation, key_id, **arguments)
        except kms.KmsRefused as error:
            if error.code in REFUSED_BY_KMS:
                raise BundleRefused(f"KMS does not unwrap the data key of the bundle ({error.code})") from error
            raise


def encrypt(folder: Path, names: tuple[str, ...], key: BundleKey) -> None:
    """Replace files in a folder by encrypted ones, and write `encryption.json`.

    It must be done before signing, since the signature is over the encrypted files.

    Args:
        folder: folder of the bundle.
        names: names of the files to encrypt.
        key: wraps the data key.

    Raises:
        BadInput: the key cannot be used.
    """
    bundle = secrets.token_hex(16)
    data_key, wrapped, key_id = key.new_data_key(bundle)
    cipher = AESGCM(data_key)
    for name in names:
        sealed = _seal(cipher, (folder / name).read_bytes(), _bound_to(bundle, name))
        (folder / f"{name}{SUFFIX}").write_bytes(sealed)
    envelope = Envelope(bundle=bundle, key_kind=key.kind, key_id=key_id, wrapped=base64.b64encode(wrapped))
    (folder / ENVELOPE).write_text(envelope.model_dump_json(indent=1), "utf-8")
    for name in names:
        (folder / name).unlink()


class Decryption:
    """Reads the encrypted files of one folder.

    Args:
        folder: folder of the bundle, for messages.
        key: the key that wrapped the data key; None if there is none.
        stored: returns the content of a file by its name in the folder.

    Raises:
        BundleRefused: there is no key or another one than the bundle's, or `encryption.json` was altered.
        BadInput: KMS cannot be used, or a later Slipway wrote `encryption.json`.
    """

    def __init__(self, folder: Path, key: BundleKey | None, stored: Callable[[str], bytes]) -> None:
        self._folder, self._stored = folder, stored
        description = f"{folder / ENVELOPE} does not describe an encrypted bundle"
        try:
            content = stored(ENVELOPE)
        except BadInput as error:
            raise BundleRefused(description) from error
        formats.check(folder / ENVELOPE, content, FORMAT)
        try:
            self._envelope = Envelope.model_validate_json(content)
        except ValidationError as error:
            raise BundleRefused(description) from error
        if key is None:
            kind, key_id = self._envelope.key_kind, self._envelope.key_id
            raise BundleRefused(f"{folder} is encrypted ({kind} key {key_id}), and no key was given; set {VARIABLE}")
        data_key = key.unwrap(self._envelope)
        if len(data_key) != KEY_BYTES:
            raise BundleRefused(f"the data key in {folder / ENVELOPE} has {len(data_key)} bytes; expected {KEY_BYTES}")
        self._cipher = AESGCM(data_key)

    def read(self, name: str) -> bytes:
        """The decrypted content of a file; `name` is without the suffix `.enc`.

        Raises:
            BundleRefused: the file was altered, or it is another file or belongs to another bundle.
        """
        path = self._folder / f"{name}{SUFFIX}"
        try:
            return _opened(self._cipher, self._stored(path.name), _bound_to(self._envelope.bundle, name))
        except (InvalidTag, ValueError, BadInput) as error:
            raise BundleRefused(f"{path} cannot be decrypted: it was altered or belongs elsewhere") from error


def _seal(cipher: AESGCM, content: bytes, bound_to: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, bound_to)


def _opened(cipher: AESGCM, sealed: bytes, bound_to: bytes) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)


def _bound_to(bundle: str, name: str) -> bytes:
    """The additional authenticated data of a file; the wrapped data key has the empty name."""
    return json.dumps(["slipway bundle", FORMAT, bundle, name]).encode()


def _context(bundle: str) -> dict[str, str]:
    return {CONTEXT: bundle}


def _check_kind(kind: str, envelope: Envelope) -> None:
    if envelope.key_kind != kind:
        wanted = f"{KMS}{envelope.key_id}" if envelope.key_kind == "kms" else f"the key file {envelope.key_id}"
        raise BundleRefused(f"the bundle is encrypted with {wanted}; a key of another kind was given")
