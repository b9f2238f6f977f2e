"""Who may ask a local service: the file of keys that its model servers read, and the key of whoever serves here.

api-keys.json   hashes, as `slipway keys` keeps them
own-key         a key with the scopes predict and explain, made at first use and readable by its owner only; `slipway
                predict` and the rollout itself ask with it
audit-key       key of the hashes in the audit logs of its servers; `slipway audit verify` takes it from here
audit-heads/    where each of these logs ended last
"""

import secrets
from pathlib import Path

from components import api_keys
from components.api_keys import Scope
from components.errors import BadInput

KEY_FILE, OWN_KEY, AUDIT_KEY = "api-keys.json", "own-key", "audit-key"
AUDIT, AUDIT_HEADS = "audit", "audit-heads"
OWNER = "local"


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
    return {"authorization": f"Bearer {_own_key(service)}"} if auth else {}


def audit_options(service: Path, version: str) -> list[str]:
    """Where the server of a version writes its audit log, with the service's key, which is made when there is none.

    Raises:
        BadInput: the key cannot be kept.
    """
    key, heads = service / AUDIT_KEY, service / AUDIT_HEADS
    try:
        if not key.exists():
            api_keys.write_private(key, secrets.token_hex(32) + "\n")
    except OSError as error:
        raise BadInput(f"the audit key of this service cannot be kept in {key} ({error.strerror})") from error
    head = str(heads / f"{version}.jsonl")
    return ["--audit", str(service / AUDIT / version), "--audit_key", str(key), "--audit_head", head]


def _own_key(service: Path) -> str:
    path, keys = service / OWN_KEY, key_file(service)
    try:
        key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    known = api_keys.read(keys) if keys.exists() else []
    if any(entry.sha256 == api_keys.digest(key) for entry in known):
        return key
    _, key = api_keys.add(keys, OWNER, [Scope.PREDICT, Scope.EXPLAIN])
    try:
        api_keys.write_private(path, key + "\n")
    except OSError as error:
        raise BadInput(f"the key of this service cannot be kept in {path} ({error.strerror})") from error
    return key
