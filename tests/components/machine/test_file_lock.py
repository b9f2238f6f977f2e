"""Locks between processes."""

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.components.machine import file_lock

HOLDER = """
import sys
from pathlib import Path
from slipway.components.machine import file_lock
with file_lock.take(Path(sys.argv[1]), note="run 7"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> "subprocess.Popen[str]":
    """Another process that holds `tmp_path / "lock"` until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_that_another_process_holds_is_not_taken_and_says_whose_it_is(
    tmp_path: Path, other: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(file_lock.Held, match="run 7"):
        file_lock.take(tmp_path / "lock", note="run 8")
    assert file_lock.holder(tmp_path / "lock") == "run 7"
    other.communicate("")
    assert file_lock.holder(tmp_path / "lock") is None


def test_a_killed_holder_lets_go(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    with file_lock.take(tmp_path / "lock", note="mine"):
        assert file_lock.holder(tmp_path / "lock") == "mine"


@pytest.mark.parametrize("wait_s", [30.0, math.inf])
def test_who_waits_gets_a_lock_that_becomes_free(tmp_path: Path, other: "subprocess.Popen[str]", wait_s: float) -> None:
    end = threading.Timer(1.0, lambda: other.communicate(""))  # later than one who does not wait gives up
    end.start()
    file_lock.take(tmp_path / "lock", wait_s).close()
    end.join()


def test_who_looks_does_not_keep_others_from_the_lock(tmp_path: Path) -> None:
    file_lock.take(tmp_path / "lock").close()
    over = threading.Event()

    def look(found: Callable[[str | None], None]) -> None:
        while not over.is_set():
            found(file_lock.holder(tmp_path / "lock"))

    seen: list[str | None] = []
    watchers = [threading.Thread(target=look, args=(seen.append,)) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    until = time.monotonic() + 1
    taken = 0
    try:
        while time.monotonic() < until:
            file_lock.take(tmp_path / "lock", 10.0, note="mine").close()
            taken += 1
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert taken > 1
    assert set(seen) <= {None, "mine", ""}


def test_there_is_no_holder_where_there_is_no_file(tmp_path: Path) -> None:
    assert file_lock.holder(tmp_path / "lock") is None
    assert not list(tmp_path.iterdir())


def test_only_this_user_can_open_a_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(0o644)
    file_lock.take(tmp_path / "lock").close()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
