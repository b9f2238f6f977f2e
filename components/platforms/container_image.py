"""The container image that every component runs in on a cluster, and where pods of it find the keys that are mounted.

Under kfp.local it only names what would run.
"""

import os

IMAGE = os.environ.get("SLIPWAY_IMAGE", "slipway/slipway-python:0.1.0")
"""Set `SLIPWAY_IMAGE` when compiling, to use an image of your own registry."""

SIGNING_FOLDER, ENCRYPTION_FOLDER, PUBLIC_KEY_FOLDER, CREDENTIALS_FOLDER, HUB_FOLDER = (
    f"/etc/slipway/{name}" for name in ("signing", "encryption", "keys", "credentials", "hub")
)
ENCRYPTION_KEY = f"{ENCRYPTION_FOLDER}/bundle.key"
SIGNING_JOB = "job:"
"""Before a namespace, in `registry.keys`: bundles are signed there, by a Job that has the key; no step has it."""
