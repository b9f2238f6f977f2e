"""The API keys and the audit key of a local service, in its folder, for its model servers and its own requests.

api-keys.json   hashes of the keys that model servers accept, written by `slipway keys`
own-key         a key with the scopes predict and explain; `slipway predict` uses it
rollout-key     a key with the scopes predict and rollout; a rollout's own requests use it
audit-key       key of the hashes in the servers' audit logs; `slipway audit verify` reads it
audit-heads/    the last entry of each audit log

Keys are created at first use. Only their owner can read the files.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import KeyEntry, Scope
from slipway.components.errors import BadInput
from slipway.components.machine import whole_file
from slipway.components.machine.private_files import FILE_MODE, private_folder

KEY_FILE, OWN_KEY, ROLLOUT_KEY, AUDIT_KEY = "api-keys.json", "own-key", "rollout-key", "audit-key"
AUDIT, AUDIT_HEADS = "audit", "audit-heads"
OWNER, ROLLOUT = "local", "rollout"


def key_file(service: Path) -> Path:
    """The file of keys of a service."""
    return service / KEY_FILE


def headers(service: Path, auth: bool) -> dict[str, str]:
    """Headers for requests of this machine's user; a key is created when there is no valid one.

    Args:
        service: folder of the service.
        auth: whether its servers require keys.

    Raises:
        BadInput: the files cannot be read or written.
    """
    return _bearer(service, OWN_KEY, OWNER, [Scope.PREDICT, Scope.EXPLAIN]) if auth else {}


def audit_options(service: Path, name: str) -> list[str]:
    """Command-line options of a server for its audit log; the service's audit key is created when there is none.

    Args:
        service: folder of the service.
        name: name of the log, usually the server's version.

    Raises:
        BadInput: the key cannot be written.
    """
    key, heads = private_folder(service) / AUDIT_KEY, service / AUDIT_HEADS
    try:
        if not key.exists():
            whole_file.replace(key, secrets.token_hex(32) + "\n", FILE_MODE)
    except OSError as error:
        raise BadInput(f"the audit key of this service cannot be kept in {key} ({error.strerror})") from error
    head = str(heads / f"{name}.jsonl")
    return ["--audit", str(service / AUDIT / name), "--audit_key", str(key), "--audit_head", head]


def rollout_headers(service: Path, auth: bool) -> dict[str, str]:
    """Headers for a rollout's own requests, as `headers`; only a key with the scope `rollout` can mark these."""
    headers(service, auth)  # creates both keys before servers start, since these read the file once a second only
    return _bearer(service, ROLLOUT_KEY, ROLLOUT, [Scope.PREDICT, Scope.ROLLOUT]) if auth else {}


def may_predict(service: Path, request_headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers (names in lower case) has a key that the model servers accept."""
    key = (request_headers.get("x-api-key") or request_headers.get("authorization", "").partition(" ")[2]).strip()
    try:
        entry = _entries(key_file(service), key_file(service).stat().st_mtime_ns).get(api_keys.digest(key))
    except (OSError, BadInput):
        return False
    return entry is not None and Scope.PREDICT in entry.scopes and entry.valid_at(datetime.now(UTC))


@lru_cache(maxsize=4)
def _entries(path: Path, modified_ns: int) -> dict[str, KeyEntry]:  # noqa: ARG001 (a changed file is read again)
    return {entry.sha256: entry for entry in api_keys.read(path)}


def _bearer(service: Path, name: str, identity: str, scopes: Sequence[Scope]) -> dict[str, str]:
    """The header with the key in the file `name`; a new key when that one is missing or not in the key file."""
    path, keys = service / name, key_file(service)
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    known = api_keys.read(keys) if keys.exists() else []
    if any(entry.sha256 == api_keys.digest(key) for entry in known):
        return {"authorization": f"Bearer {key}"}
    _, key = api_keys.add(keys, identity, scopes)
    try:
        whole_file.replace(path, key + "\n", FILE_MODE)
    except OSError as error:
        raise BadInput(f"the key of this service cannot be kept in {path} ({error.strerror})") from error
    return {"authorization": f"Bearer {key}"}
