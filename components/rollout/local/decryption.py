"""Options and variables with which a local model server decrypts its bundle.

The service keeps the name of the key (a path or `kms:KEY-ID`, never the key). So `slipway start` needs no settings.
"""

import os
from pathlib import Path

from slipway.components.artifacts.encryption import ENVELOPE, KMS, VARIABLE

REMEMBERED = "decryption-key"


def options(service: Path, bundle: str) -> list[str]:
    """Command-line options of a server for a bundle; none for a bundle that is not encrypted.

    Without a name of a key there are none either; the server then fails with a message that it needs one.
    """
    if not (Path(bundle) / ENVELOPE).is_file():
        return []
    name_file = service / REMEMBERED
    key_name = os.environ.get(VARIABLE, "")
    if key_name:
        key_name = key_name if key_name.startswith(KMS) else str(Path(key_name).expanduser().absolute())
        name_file.parent.mkdir(parents=True, exist_ok=True)
        name_file.write_text(key_name, "utf-8")
    elif name_file.exists():
        key_name = name_file.read_text("utf-8")
    return ["--decryption_key", key_name] if key_name else []


def environment(options: list[str]) -> dict[str, str]:
    """Environment variables of a server with these options: those of AWS when its key is in KMS, else none."""
    if not any(option.startswith(KMS) for option in options):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
