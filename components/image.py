"""The container image that every component runs in on a cluster; under kfp.local it only names what would run."""

import os

IMAGE = os.environ.get("SLIPWAY_IMAGE", "slipway/slipway-python:0.1.0")
"""Set `SLIPWAY_IMAGE` when compiling, to use an image of your own registry."""
