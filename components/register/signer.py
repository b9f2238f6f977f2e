"""What the pod of the CronJob slipway-signer runs: it signs the digests of a bundle's files, in `SLIPWAY_FILES`.

The signature is its last line. It sees no bundle, needs no network, and has the only copy of the key in the cluster.
"""

import base64
import json
import os
import sys
from pathlib import Path

from slipway.components.artifacts import signing
from slipway.components.errors import BadInput
from slipway.components.platforms.container_image import SIGNING_FOLDER

FILES_VARIABLE = "SLIPWAY_FILES"
"""JSON: the SHA-256 of each file, by name."""
ANSWER = "slipway-signature "
"""Begins the line with the signature, in base64."""


def main(folder: str = SIGNING_FOLDER) -> None:
    """Print the signature. Raises BadInput when the digests or the key cannot be used."""
    digests = json.loads(os.environ.get(FILES_VARIABLE, "{}"))
    signature = signing.sign_digests(digests, Path(folder) / signing.PRIVATE)
    print(f"{ANSWER}{base64.b64encode(signature).decode()}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"BadInput: {error}")
