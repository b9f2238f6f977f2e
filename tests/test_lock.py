"""The lock file, which the image is made of, goes with pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def canonical(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_has_every_dependency_in_its_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = dict(re.split(r"\[.*\]==|==", dependency, maxsplit=1) for dependency in project["dependencies"])
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    locked = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    missing = {name: version for name, version in wanted.items() if locked.get(canonical(name)) != version}
    assert missing == {}
