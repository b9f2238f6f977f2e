"""The environment of child processes that run Slipway's modules, which the current folder must not shadow."""

import os
import sysconfig
from pathlib import Path


def environment() -> dict[str, str]:
    """The environment of a child that is started as `python -m slipway...`, made from that of this process.

    The current folder is often the user's project, with modules of its own. Python would search it first.
    `PYTHONSAFEPATH` prevents this, for children of the child too. A checkout that is not installed is added to
    `PYTHONPATH`, since Python would not find it otherwise.
    """
    root = str(Path(__file__).parents[3])
    installed = root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    search = [os.environ.get("PYTHONPATH")] if installed else [root, os.environ.get("PYTHONPATH")]
    search_path = os.pathsep.join(filter(None, search))
    return os.environ | {"PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": search_path} if search_path else {})
