"""The head of an audit log is noted elsewhere; a server that starts on a log that was changed says so for ever."""

import json
import logging
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.serving.audit.audit_log import AuditLog
from slipway.serving.audit.chain import GENESIS, verify
from slipway.serving.audit.files import FolderSink, audit_files, places
from slipway.serving.audit.heads import EACH_S, Head, HeadNotes, heads_in

KEY = b"sixteen random bytes or more"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def live(folder: Path, file: Path, count: int, killed: bool = False, key: bytes | None = None) -> None:
    """A server's life."""
    sink = FolderSink(folder, 10**6)
    log = AuditLog(sink, key, flush_s=60, heads=HeadNotes(file))
    for number in range(count):
        log.append({"n": number})
    if killed:
        log._flush()
        log._sink.close()
        log._stop.set()
    else:
        log.close()
    sink._lock.close()


def problems(folder: Path, file: Path, key: bytes | None = None) -> list[str]:
    heads = [(head.seq, head.hash) for head in heads_in(file.read_text(), "heads")]
    return verify(places(audit_files(folder)), key, heads, whole=True).problems


def cut(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))


def rewrite(log: Path) -> None:
    other = log.parent.parent / "other"
    live(other, other.with_suffix(".heads"), 9)
    shutil.copy(audit_files(other)[0], log)


CHANGES = [cut, Path.unlink, lambda log: log.write_bytes(b""), lambda log: log.write_bytes(b"junk"), rewrite]


@pytest.mark.parametrize("change", CHANGES, ids=["last lines cut", "deleted", "emptied", "overwritten", "rewritten"])
@pytest.mark.parametrize("killed", [False, True])
def test_a_changed_log_is_found_before_and_after_a_restart(
    tmp_path: Path, change: Callable[[Path], None], killed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder, file = tmp_path / "log", tmp_path / "heads" / "1.jsonl"
    live(folder, file, 5)
    assert problems(folder, file) == []
    live(folder, file, 5, killed)
    assert problems(folder, file) == []
    change(audit_files(folder)[0])
    if not killed:  # a killed server may have written lines since the last minute's note
        assert problems(folder, file) != []
        live(folder, file, 20)
        assert "event=audit_changed" in caplog.text
        found = problems(folder, file)
        assert any("of a server that missed seq" in problem for problem in found)
        file.unlink()
        assert any("missed seq" in problem for problem in verify(places(audit_files(folder))).problems)


def test_a_log_that_is_there_in_whole_is_never_called_changed_however_often_a_server_is_killed(tmp_path: Path) -> None:
    folder, file = tmp_path / "log", tmp_path / "1.jsonl"
    for _ in range(4):
        live(folder, file, 3, killed=True, key=KEY)
        log = audit_files(folder)[-1]
        log.write_bytes(log.read_bytes() + b'{"seq":')
        assert problems(folder, file, KEY) == []


def test_it_is_noted_at_start_each_minute_while_it_grows_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serving")
    clock, file = Clock(), tmp_path / "heads.jsonl"
    log = AuditLog(FolderSink(tmp_path / "log", 10**6), flush_s=60, heads=HeadNotes(file, clock))
    noted = []

    def flush(seconds: float, lines: int) -> None:
        clock.now += seconds
        for _ in range(lines):
            log.append({"n": 1})
        log._flush()
        noted.append(json.loads(file.read_text())["seq"])

    assert json.loads(file.read_text()) == {"seq": 0, "hash": GENESIS, "file": "audit-000001.jsonl"}
    for seconds, lines in ((1, 2), (EACH_S, 1), (EACH_S, 0), (1, 1), (EACH_S, 0)):
        flush(seconds, lines)
    assert noted == [0, 3, 3, 4, 4]  # the fourth after a quiet minute
    log.append({"n": 1})
    log.close()
    (head,) = heads_in(file.read_text(), "heads")
    assert head.seq == 5
    assert f"event=audit_head file=audit-000001.jsonl seq=5 hash={head.hash}" in caplog.text
    assert [one.seq for one in heads_in(caplog.text, "the ordinary log") if one.seq] == [3, 4, 5]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_head_that_cannot_be_noted_stops_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, file = Clock(), tmp_path / "heads" / "1.jsonl"
    log = AuditLog(FolderSink(tmp_path / "log", 10**6), flush_s=60, heads=HeadNotes(file, clock))
    shutil.rmtree(file.parent)
    file.parent.write_text("in the way")
    clock.now += 2 * EACH_S
    log.append({"n": 1})
    log.close()
    assert "event=audit_head_failed" in caplog.text
    assert verify(places(audit_files(tmp_path / "log"))).lines == 1


def test_what_names_no_head_is_refused() -> None:
    with pytest.raises(BadInput, match="names no head"):
        heads_in("12:abc", "--head 12:abc")
    with pytest.raises(BadInput, match="a line that is not the head"):
        heads_in('{"seq": 1}', "file")
    assert heads_in(f"7:{GENESIS}", "x") == [Head(7, GENESIS)]
