"""Who may ask a local service: the file of keys that its model servers read, and the key of whoever serves here.

api-keys.json   hashes, as `slipway keys` keeps them
own-key         a key with the scopes predict and explain, with which `slipway predict` asks
rollout-key     a key with the scopes predict and rollout, with which the rollout asks
audit-key       key of the hashes in the audit logs of its servers; `slipway audit verify` takes it from here
audit-heads/    where each of these logs ended last

Keys are made at first use and readable by their owner only.
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
    """What a request of this machine's user needs; the key is made when there is none that is good.

    Args:
        service: folder of the service.
        auth: whether its servers ask for keys.

    Raises:
        BadInput: the files cannot be read or written.
    """
    return _bearer(service, OWN_KEY, OWNER, [Scope.PREDICT, Scope.EXPLAIN]) if auth else {}


def audit_options(service: Path, name: str) -> list[str]:
    """Where a server writes its audit log, with the service's key, which is made when there is none.

    Args:
        service: folder of the service.
        name: of the log, as a rule the server's version.

    Raises:
        BadInput: the key cannot be kept.
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
    """What a request of the rollout needs, whose questions alone may be marked as such; else as `headers`."""
    headers(service, auth)  # made now, so that servers know it from their start: they look at the file once a second
    return _bearer(service, ROLLOUT_KEY, ROLLOUT, [Scope.PREDICT, Scope.ROLLOUT]) if auth else {}


def may_predict(service: Path, sent: Mapping[str, str]) -> bool:
    """Whether a request with these headers has a key that its model server admits to predictions."""
    key = (sent.get("x-api-key") or sent.get("authorization", "").partition(" ")[2]).strip()
    try:
        entry = _entries(key_file(service), key_file(service).stat().st_mtime_ns).get(api_keys.digest(key))
    except (OSError, BadInput):
        return False
    return entry is not None and Scope.PREDICT in entry.scopes and entry.valid_at(datetime.now(UTC))


@lru_cache(maxsize=4)
def _entries(path: Path, changed: int) -> dict[str, KeyEntry]:  # noqa: ARG001 (a file that changed is read again)
    return {entry.sha256: entry for entry in api_keys.read(path)}


def _bearer(service: Path, name: str, identity: str, scopes: Sequence[Scope]) -> dict[str, str]:
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
