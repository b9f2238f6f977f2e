"""Child processes that run modules of ours: they find Slipway, and nothing of the folder that somebody works in."""

import os
import sysconfig
from pathlib import Path


def environment() -> dict[str, str]:
    """The environment of this process, for a child that is started as `python -m slipway...`.

    The current folder is often a project with folders of its own. Python would search it first; `PYTHONSAFEPATH` ends
    that, for children of the child too. A checkout that is not installed is named, since nothing else leads to it.
    """
    root = str(Path(__file__).parents[3])
    installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    search = [os.environ.get("PYTHONPATH")] if installed else [root, os.environ.get("PYTHONPATH")]
    found = os.pathsep.join(filter(None, search))
    return os.environ | {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": found} if found else {})
