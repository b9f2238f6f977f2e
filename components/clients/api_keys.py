"""Reads and changes the file of API keys. It contains only hashes: a key is shown once, when it is made.

`{"keys": [{"id": "4f1c…", "identity": "shop", "scopes": ["predict"], "sha256": "…", "expires": "2027-01-31T00:00Z"}]}`

An identity may have several keys, so that a new one is in use before the old one is revoked. A key has 256 random bits,
so one SHA-256 is enough. A slow hash protects only secrets that can be guessed (NIST SP 800-63B, section 5.1.1.2), and
would slow each request down.
"""

import hashlib
import json
import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.machine import file_lock, whole_file
from slipway.components.machine.private_files import FILE_MODE, private_folder

PREFIX = "slipway"
"""Prefix of every key, so that people and scanners for leaked secrets recognise a key."""
ID_BYTES, SECRET_BYTES = 6, 32
FORMAT: Literal[1] = 1
"""Format of the file; see `slipway.components.formats`."""


class Scope(StrEnum):
    """What a caller may do. No scope contains another; a key or token may have several."""

    PREDICT = "predict"
    EXPLAIN = "explain"
    ADMIN = "admin"
    ROLLOUT = "rollout"
    """To mark requests as a rollout's own, which do not count as traffic of clients."""


class KeyEntry(BaseModel):
    """The entry of one key, without the key itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{4,64}$")
    """The id within the key; safe to show."""
    identity: str = Field(min_length=1, max_length=100)
    """The owner of the key."""
    scopes: tuple[Scope, ...]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the whole key, in UTF-8."""
    not_before: AwareDatetime | None = None
    expires: AwareDatetime | None = None

    def valid_at(self, moment: datetime) -> bool:
        """Whether the key may be used at a moment."""
        begun = self.not_before is None or self.not_before <= moment
        return begun and (self.expires is None or moment < self.expires)


class KeyFile(BaseModel):
    """The content of a key file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = FORMAT
    """Not written, since a server that was started before an upgrade would refuse a file with an unknown field."""
    keys: tuple[KeyEntry, ...]


def digest(key: str) -> str:
    """The hash of a key that the file keeps."""
    return hashlib.sha256(key.encode()).hexdigest()


def id_of(key: str) -> str | None:
    """The id within a key; None if it does not have the format of a key."""
    prefix, _, rest = key.partition("_")
    identifier, _, secret = rest.partition("_")
    return identifier if prefix == PREFIX and secret else None


def read(path: Path) -> list[KeyEntry]:
    """All entries of a key file.

    Raises:
        BadInput: the file cannot be read, is not a key file or has a later format, or has an id twice.
    """
    try:
        content = path.read_bytes()
        formats.check(path, content, FORMAT)
        entries = KeyFile.model_validate_json(content).keys
    except OSError as error:
        raise BadInput(
            f"the key file {path} cannot be read ({error.strerror}); `slipway keys add` makes one"
        ) from error
    except ValidationError as error:
        places = ", ".join(".".join(map(str, item["loc"])) or item["type"] for item in error.errors()[:3])
        raise BadInput(f"{path} is not a file of API keys (see {places}); `slipway keys add` makes one") from None
    if len({entry.id for entry in entries}) < len(entries):
        raise BadInput(f"the key file {path} has an id more than once; every key needs its own")
    return list(entries)


def add(
    path: Path,
    identity: str,
    scopes: Sequence[Scope],
    not_before: datetime | None = None,
    expires: datetime | None = None,
) -> tuple[KeyEntry, str]:
    """Make a key and add its entry to the file, which is made if it does not exist.

    Returns:
        The entry, and the key itself, which is not stored.

    Raises:
        BadInput: the file cannot be read or written, or the identity is empty or too long.
    """
    identifier = secrets.token_hex(ID_BYTES)
    key = f"{PREFIX}_{identifier}_{secrets.token_urlsafe(SECRET_BYTES)}"
    try:
        entry = KeyEntry(
            id=identifier,
            identity=identity,
            scopes=tuple(scopes),
            sha256=digest(key),
            not_before=not_before,
            expires=expires,
        )
    except ValidationError as error:
        raise BadInput(f"the identity {identity!r} cannot be used; give 1 to 100 characters") from error
    with _changing(path):
        _write(path, [*(read(path) if path.exists() else []), entry])
    return entry, key


def revoke(path: Path, identifier: str) -> KeyEntry:
    """Remove a key from the file; servers refuse it within a second or two.

    Raises:
        BadInput: there is no such key, or the file cannot be read or written.
    """
    with _changing(path):
        entries = read(path)
        revoked = next((entry for entry in entries if entry.id == identifier), None)
        if revoked is None:
            known = ", ".join(entry.id for entry in entries) or "none"
            raise BadInput(f"{path} has no key with the id {identifier!r}; known ids: {known}")
        _write(path, [entry for entry in entries if entry is not revoked])
    return revoked


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Lock the file, so that one process at a time changes it."""
    try:
        if not path.parent.exists():  # the permissions of an existing folder are up to its owner
            private_folder(path.parent)
        with file_lock.take(path.with_name(f".{path.name}.lock"), math.inf):
            yield
    except OSError as error:
        raise BadInput(
            f"the key file {path} cannot be written ({error.strerror}); choose another with --file"
        ) from error


def _write(path: Path, entries: Sequence[KeyEntry]) -> None:
    content = {"keys": [entry.model_dump(mode="json") for entry in entries]}
    whole_file.replace(path, json.dumps(content, indent=1) + "\n", FILE_MODE)
