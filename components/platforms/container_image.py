"""The container image of all components on a cluster, and the paths at which its pods have the mounted keys.

kfp.local runs components without a container, so there the image is only a name.
"""

import os

IMAGE = os.environ.get("SLIPWAY_IMAGE", "slipway/slipway-python:0.1.0")
"""Set `SLIPWAY_IMAGE` when you compile the pipeline, to use an image of your own registry."""

SIGNING_FOLDER, ENCRYPTION_FOLDER, PUBLIC_KEY_FOLDER, CREDENTIALS_FOLDER, HUB_FOLDER = (
    f"/etc/slipway/{name}" for name in ("signing", "encryption", "keys", "credentials", "hub")
)
ENCRYPTION_KEY = f"{ENCRYPTION_FOLDER}/bundle.key"
SIGNING_JOB = "job:"
"""Prefix of a namespace in the setting `registry.keys`. Bundles are then signed by a Job in that namespace, so that no
step has the private key."""
