"""What a model server needs to open an encrypted bundle: the name of the key, and for KMS the access to it.

The service remembers the name (a path or `kms:KEY-ID`, never the key), so that `slipway start` needs no settings.
"""

import os
from pathlib import Path

from slipway.components.artifacts.encryption import ENVELOPE, KMS, VARIABLE

REMEMBERED = "decryption-key"


def options(service: Path, bundle: str) -> list[str]:
    """Options of the command line for a bundle; none for one that is not encrypted.

    Without a key the server says itself that it needs one.
    """
    if not (Path(bundle) / ENVELOPE).is_file():
        return []
    memory = service / REMEMBERED
    named = os.environ.get(VARIABLE, "")
    if named:
        named = named if named.startswith(KMS) else str(Path(named).expanduser().absolute())
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(named, "utf-8")
    elif memory.exists():
        named = memory.read_text("utf-8")
    return ["--decryption_key", named] if named else []


def environment(given: list[str]) -> dict[str, str]:
    """The variables that a server with these options needs: those of AWS, if its key is in KMS."""
    if not any(option.startswith(KMS) for option in given):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
