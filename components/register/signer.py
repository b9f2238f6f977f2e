"""The program of the CronJob slipway-signer: it signs the digests of a bundle's files.

The digests are in the environment variable `SLIPWAY_FILES`, and the signature is the last line of the log. So the pod
needs neither the bundle nor the network, and it has the only copy of the private key in the cluster.
"""

import base64
import json
import os
import sys
from pathlib import Path

from slipway.components.artifacts import key_files, signing
from slipway.components.errors import BadInput
from slipway.components.platforms.container_image import SIGNING_FOLDER

FILES_VARIABLE = "SLIPWAY_FILES"
"""Environment variable with JSON: name of each file to its SHA-256."""
ANSWER = "slipway-signature "
"""Beginning of the line with the signature, which follows in base64."""


def main(folder: str = SIGNING_FOLDER) -> None:
    """Print the signature.

    Args:
        folder: with the private key.

    Raises:
        BadInput: the digests or the key cannot be used.
    """
    digests = json.loads(os.environ.get(FILES_VARIABLE, "{}"))
    signature = signing.sign_digests(digests, Path(folder) / key_files.PRIVATE)
    print(f"{ANSWER}{base64.b64encode(signature).decode()}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"BadInput: {error}")
