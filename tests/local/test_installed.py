"""The wheel has all of Slipway, and nothing else."""

from pathlib import Path
from zipfile import ZipFile

from tests.local.conftest import PARTS, ROOT


def test_the_wheel_has_every_file_of_the_package_and_no_other_package(wheel: Path) -> None:
    there = {name for name in ZipFile(wheel).namelist() if not name.partition("/")[0].endswith(".dist-info")}
    ours = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".csv", ".yaml")]
    own = {"slipway/__init__.py", "slipway/py.typed"}
    assert there == own | {*(f"slipway/{path.relative_to(ROOT).as_posix()}" for path in ours)}
