"""What the code of commit 62e90cf wrote, of whose release 0.1.0 people have things; see README.md beside it."""

import gzip
import shutil
import sqlite3
from pathlib import Path

import pytest

THEN = Path(__file__).parent / "62e90cf"
DIGESTS = {
    "1": "64f986ff7c3a424e4dc7018aa77fa333b61d878eb7b7e2bb9189953e348b43ee",
    "2": "39d102f64d23b0007b26f4c1ceb4eff0dcd6a68d2206d6d171272d2f0668d49b",
}
"""Of the bundles, by version."""
PLACE = "@FOLDER@"
"""Stands in the files for the folder in which they were made."""


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """The folder of a user of then: settings, bundles and the home folder, whose rollout's driver was killed."""
    shutil.copytree(THEN, tmp_path / "user")
    folder = tmp_path / "user"
    for path in (folder / "slipway.yaml", *(folder / "home").rglob("*.json*")):
        path.write_text(path.read_text("utf-8").replace(PLACE, str(folder)), "utf-8")
    with gzip.open(folder / "home" / "mlflow.sql.gz", "rt", encoding="utf-8") as script:
        database = sqlite3.connect(folder / "home" / "mlflow.db")
        database.executescript(script.read().replace(PLACE, str(folder)))
        database.close()
    (folder / "keys").mkdir()
    shutil.copy(folder / "public.pem", folder / "keys")
    for version, digest in DIGESTS.items():
        stored, served = Path("bundles", "messages", digest[:16]), Path("service", "bundles", digest)
        for place in (stored, served):
            shutil.copytree(folder / "bundles" / version, folder / "home" / place)
    return folder
