"""The folder with Slipway's files on this machine. In a pod it is removed with the pod."""

import os
from pathlib import Path

HOME = "SLIPWAY_HOME"
"""Environment variable with another folder than `.slipway`."""


def home() -> Path:
    """`.slipway` in the current folder, or the folder in the environment variable `SLIPWAY_HOME`."""
    return Path(os.environ.get(HOME) or ".slipway").expanduser().absolute()


def work() -> Path:
    """Folder of trainings and searches in progress, so that a killed one can continue."""
    return home() / "work"


def service() -> Path:
    """Folder of the model that is served from this machine, with its state."""
    return home() / "service"
