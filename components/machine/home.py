"""The folder in which Slipway keeps things on this machine; in a pod it is a place that ends with the pod."""

import os
from pathlib import Path

HOME = "SLIPWAY_HOME"


def home() -> Path:
    """`.slipway` in the current folder, or what the environment variable `SLIPWAY_HOME` says."""
    return Path(os.environ.get(HOME) or ".slipway").expanduser().absolute()


def work() -> Path:
    """Trainings and searches in progress, so that a killed one goes on."""
    return home() / "work"


def service() -> Path:
    """State of the model that is served from this machine."""
    return home() / "service"
