"""What is kept on this machine is its user's alone, whatever the umask is and an earlier release left behind."""

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.errors import BadInput
from slipway.components.machine.private_files import lock_file, private_folder
from slipway.components.rollout.local import access, service
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import exclusive
from slipway.serving.audit.files import FolderSink

FLOCK, NOBODY = shutil.which("flock"), 65534


@pytest.fixture(autouse=True)
def _open_handed() -> Iterator[None]:
    """Without any umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_that_is_made_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "new" / "home"))
    places = Places.here()
    assert not places.home.exists()
    with exclusive(places, "run-1"), service.locked(places.service):
        access.headers(places.service, auth=True)
        FolderSink(places.service / "audit" / "1", 1000)
    assert [mode(place) for place in (tmp_path / "new", places.home, places.service)] == [0o700] * 3
    files = [place for place in (tmp_path / "new").rglob("*") if place.is_file()]
    assert {place.name: mode(place) for place in files} == dict.fromkeys((place.name for place in files), 0o600)
    assert {"run.lock", "lock", ".lock", "own-key", "api-keys.json"} <= {place.name for place in files}


def test_what_an_earlier_release_left_open_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "service").mkdir(parents=True)
    left = {home / "run.lock": 0o644, home / "service" / "lock": 0o666, home / "service" / access.OWN_KEY: 0o644}
    for path, old in left.items():
        path.touch()
        path.chmod(old)
    assert (mode(home), mode(home / "service")) == (0o777, 0o777)
    monkeypatch.setenv("SLIPWAY_HOME", str(home))
    places = Places.here()
    assert (mode(home), mode(home / "service")) == (0o700, 0o700)
    with exclusive(places, "run-1"), service.locked(places.service):
        assert [mode(path) for path in left] == [0o600] * 3


@pytest.mark.skipif(os.geteuid() != 0 or not FLOCK, reason="needs flock, and root to act as another user")
def test_another_user_cannot_hold_a_lock() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)  # all that protects the lock is its own mode
        open_lock, own_lock = folder / "open", folder / "own"
        open_lock.touch(0o644)
        lock_file(own_lock).close()
        tries = [
            subprocess.run([str(FLOCK), "-n", path, "true"], user=NOBODY, capture_output=True, check=False)
            for path in (open_lock, own_lock)
        ]
        assert tries[0].returncode == 0
        assert b"Permission denied" in tries[1].stderr
        with lock_file(open_lock) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert mode(open_lock) == 0o600
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", NOBODY, NOBODY)
    with pytest.raises(BadInput, match=f"belongs to the user {NOBODY}"):
        private_folder(tmp_path / "home")


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        lock_file(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_of_keys_that_is_there_stays_as_open_as_its_owner_made_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    api_keys.add(tmp_path / "keys.json", "shop", [Scope.PREDICT])
    assert mode(tmp_path) == 0o755
    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
