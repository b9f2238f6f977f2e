"""An audit log shows every change to it, goes on after a kill and a full disk, and is one chain through its files."""

import errno
import io
import itertools
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slipway.components.errors import BadInput
from slipway.serving.audit.audit_log import AuditLog, key_of
from slipway.serving.audit.chain import Verification, parsed, verify
from slipway.serving.audit.files import FolderSink, StreamSink, audit_files, places

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

KEY = b"sixteen random bytes or more"


def write(folder: Path, count: int, key: bytes | None = None, file_bytes: int = 10**6, first: int = 0) -> None:
    """A server's life: opens the log, appends records and closes it."""
    sink = FolderSink(folder, file_bytes)
    log = AuditLog(sink, key, flush_s=60)
    for number in range(first, first + count):
        log.append({"event": "request", "n": number})
        if file_bytes < 10**6:
            log._flush()
    log.close()
    sink._lock.close()


def check(folder: Path, key: bytes | None = None, head: tuple[int, str] | None = None) -> Verification:
    return verify(places(audit_files(folder)), key, [head] if head else [], whole=True)


def numbers(folder: Path) -> list[int]:
    lines = [json.loads(place.raw) for place in places(audit_files(folder)) if parsed(place.raw)]
    return [line["n"] for line in lines if "n" in line]


Edit = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b'"n":3', b'"n":4'), *lines[4:]], r"line 4 \(seq 4\) was altered"),
        (lambda lines: [*lines[:3], b"something else", *lines[4:]], "line 4 is not an audit line: altered"),
        (lambda lines: [*lines[:3], *lines[4:]], "seq 4 is missing before .*, line 4"),
        (lambda lines: [*lines[:3], *lines[6:]], "seq 4 to 6 are missing before .*, line 4"),
        (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], r"line 5 \(seq 4\) is out of its order"),
        (lambda lines: [*lines[:4], lines[3], *lines[4:]], r"line 5 \(seq 4\) is there twice"),
    ],
)
def test_a_change_is_found_and_located(tmp_path: Path, key: bytes | None, edit: Edit, message: str) -> None:
    write(tmp_path, 10, key)
    assert check(tmp_path, key).problems == []
    (file,) = audit_files(tmp_path)
    file.write_bytes(b"\n".join(edit(file.read_bytes().splitlines())) + b"\n")
    problems = check(tmp_path, key).problems
    assert re.search(message, problems[0]), problems


def test_a_line_that_was_exchanged_with_a_hash_of_its_own_does_not_fit_its_successor(tmp_path: Path) -> None:
    write(tmp_path / "true", 5)
    write(tmp_path / "false", 5, first=100)
    (true,), (false,) = audit_files(tmp_path / "true"), audit_files(tmp_path / "false")
    lines = true.read_bytes().splitlines(keepends=True)
    forged = false.read_bytes().splitlines(keepends=True)[0]
    true.write_bytes(b"".join([forged, *lines[1:]]))
    assert "does not follow from the line before it, which was exchanged" in check(tmp_path / "true").problems[0]


def test_a_log_that_was_rewritten_whole_is_noticed_by_those_who_have_the_key(tmp_path: Path) -> None:
    write(tmp_path / "log", 5, KEY)
    (file,) = audit_files(tmp_path / "log")
    write(tmp_path / "forged", 5, b"the key of somebody else")
    file.write_bytes(audit_files(tmp_path / "forged")[0].read_bytes())
    assert len(check(tmp_path / "log", KEY).problems) == 5


def test_a_shortened_log_lacks_the_head_that_was_noted(tmp_path: Path) -> None:
    write(tmp_path, 5)
    found = check(tmp_path)
    assert check(tmp_path, head=(found.seq, found.head)).problems == []
    (file,) = audit_files(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert check(tmp_path).problems == []
    (problem,) = check(tmp_path, head=(found.seq, found.head)).problems
    assert problem == "the log ends with seq 4, but seq 5 was noted: its end is missing, or the whole"
    file.unlink()
    assert "ends with seq 0" in check(tmp_path, head=(found.seq, found.head)).problems[0]


@pytest.mark.parametrize("cut", [2, 5, 60])
def test_a_torn_last_line_is_recognised_and_the_chain_goes_on_after_it(tmp_path: Path, cut: int) -> None:
    write(tmp_path, 5)
    (file,) = audit_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-cut])
    found = check(tmp_path)
    assert (found.lines, found.problems) == (4, [])
    assert "is torn" in found.notes[0]
    write(tmp_path, 3, first=5)
    found = check(tmp_path)
    assert found.problems == []
    assert "the server was killed here and went on after it" in found.notes[0]
    assert numbers(tmp_path)[:4] + numbers(tmp_path)[-3:] == [0, 1, 2, 3, 5, 6, 7]


def test_a_last_line_that_lacks_only_its_newline_is_whole(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (file,) = audit_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    write(tmp_path, 2, first=5)
    assert (check(tmp_path).problems, numbers(tmp_path)) == ([], [0, 1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("torn", [b'{"seq":5,"prev":"ab', b"x", b'{"seq":5,"prev":"ab\n{"seq":5,"pr'])
def test_more_than_one_torn_line_or_another_than_the_next_is_a_change_also_after_a_restart(
    tmp_path: Path, torn: bytes
) -> None:
    write(tmp_path, 5)
    (file,) = audit_files(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]) + torn)
    assert "is not an audit line: altered" in check(tmp_path).problems[0]
    write(tmp_path, 2, first=5)
    assert "is not an audit line: altered" in check(tmp_path).problems[0]


def test_a_log_that_was_overwritten_is_changed_also_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (file,) = audit_files(tmp_path)
    file.write_bytes(b"nothing to see here")
    assert len(check(tmp_path).problems) == 1
    write(tmp_path, 2)
    assert len(check(tmp_path).problems) == 1


def test_one_chain_goes_through_all_files_and_restarts(tmp_path: Path) -> None:
    for life in range(3):
        write(tmp_path, 5, KEY, file_bytes=300, first=5 * life)
    assert len(audit_files(tmp_path)) > 5
    found = check(tmp_path, KEY)
    assert (found.problems, found.notes, found.lines, found.seq) == ([], [], 15, 15)
    audit_files(tmp_path)[2].unlink()
    assert "missing" in check(tmp_path, KEY).problems[0]


def rotating(folder: Path, count: int) -> AuditLog:
    """A log of which three files are kept, each with a line or two."""
    log = AuditLog(FolderSink(folder, file_bytes=1, keep=3), flush_s=60)
    for number in range(count):
        log.append({"n": number})
        log._flush()
    return log


def test_old_files_go_when_only_so_many_are_kept_and_the_log_says_so(tmp_path: Path) -> None:
    rotating(tmp_path, 10).close()
    assert [path.name for path in audit_files(tmp_path)] == [f"audit-{number:06d}.jsonl" for number in (9, 10, 11)]
    found = check(tmp_path)
    assert found.problems == []
    assert re.fullmatch(r"the log begins with seq \d+; the server removed the files before it", found.notes[0])


@pytest.mark.parametrize("lost", [1, 2])
def test_oldest_files_that_no_server_removed_are_missed_also_after_a_restart(tmp_path: Path, lost: int) -> None:
    write(tmp_path, 5, file_bytes=300)
    for file in audit_files(tmp_path)[:lost]:
        file.unlink()
    assert "no line says that a server removed the files before it" in check(tmp_path).problems[0]
    write(tmp_path, 2, first=5, file_bytes=300)
    assert "no line says that a server removed the files before it" in check(tmp_path).problems[0]


def test_more_oldest_files_than_the_server_removed_are_missed(tmp_path: Path) -> None:
    rotating(tmp_path, 10).close()
    audit_files(tmp_path)[0].unlink()
    assert "no line says that a server removed the files before it" in check(tmp_path).problems[0]


def test_a_kill_between_the_line_and_the_removal_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FolderSink, "remove", lambda self: None)  # noqa: ARG005
    rotating(tmp_path, 5).close()
    assert check(tmp_path).problems == []


def test_a_log_that_gets_a_key_later_says_where_and_is_intact(tmp_path: Path) -> None:
    write(tmp_path, 5)
    write(tmp_path, 3, KEY, first=5)
    found = check(tmp_path, KEY)
    assert found.problems == []
    assert "line 1 to audit-000001.jsonl, line 5: written before the log had a key" in found.notes[0]
    (file,) = audit_files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5]))
    assert "written without the key" in check(tmp_path, KEY).problems[0]
    file.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    assert check(tmp_path, KEY).problems != []


def test_lines_without_the_key_do_not_pass_after_those_with_it(tmp_path: Path) -> None:
    write(tmp_path, 3, KEY)
    write(tmp_path, 3, first=3)
    assert len(check(tmp_path, KEY).problems) == 3


class FullDisk(FolderSink):
    """Takes half of what it is given while it is full."""

    full = False

    def write(self, lines: bytes) -> bool:
        if not self.full:
            return super().write(lines)
        assert self._file is not None
        self._file.write(lines[: len(lines) // 2])
        raise OSError(errno.ENOSPC, "no space left")


def test_a_full_disk_loses_nothing_and_doubles_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = FullDisk(tmp_path, 10**6)
    log = AuditLog(sink, flush_s=60)
    for turn, full in enumerate((False, True, True, False, True, False)):
        sink.full = full
        for number in range(5):
            log.append({"n": 5 * turn + number})
        log._flush()
    log.close()
    found = check(tmp_path)
    assert (found.problems, len(found.notes) > 0) == ([], True)
    assert numbers(tmp_path) == list(range(30))
    assert len([record for record in caplog.records if "audit_failed" in record.message]) == 2


def test_what_cannot_be_kept_is_recorded_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.serving.audit.audit_log.MOST_WAITING", 3)
    log = AuditLog(FolderSink(tmp_path, 10**6), flush_s=60)
    for number in range(5):
        log.append({"n": number})
    log.close()
    assert numbers(tmp_path) == [0, 1, 2]
    (last,) = [json.loads(place.raw) for place in places(audit_files(tmp_path))][3:]
    assert (last["event"], last["records"]) == ("lost", 2)


def test_records_reach_the_file_by_themselves(tmp_path: Path) -> None:
    log = AuditLog(FolderSink(tmp_path, 10**6), flush_s=0.05)
    log.append({"n": 1})
    until = time.monotonic() + 30
    while numbers(tmp_path) != [1] and time.monotonic() < until:
        time.sleep(0.02)
    assert numbers(tmp_path) == [1]
    log.close()


def test_a_write_that_never_ends_does_not_keep_the_server_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.serving.audit.audit_log.STOP_S", 0.1)
    reading, writing = os.pipe()  # nobody reads
    log = AuditLog(StreamSink(os.fdopen(writing, "wb", buffering=0)), flush_s=0.01)
    while log._thread.is_alive() and len(log._waiting) < 1000:
        log.append({"text": "x" * 10_000})
    log.close()
    assert log._thread.is_alive()
    os.close(reading)


class _Full(io.RawIOBase):
    """A file on a disk that is full after some bytes, and has room again later."""

    def __init__(self, room: int) -> None:
        self.content, self.room = b"", room

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        taken = bytes(data)[: self.room]
        if not taken:
            raise OSError(28, "No space left on device")
        self.content, self.room = self.content + taken, self.room - len(taken)
        return len(taken)


@pytest.mark.parametrize("room", [0, 1, 150, 400, 450, 10_000])
def test_the_standard_output_gets_each_line_once_whatever_failed(room: int) -> None:
    disk = _Full(room)
    log = AuditLog(StreamSink(io.BufferedWriter(disk)), flush_s=60)
    for number in range(4):
        log.append({"n": number, "text": "x" * 50})
    log._flush()
    log.append({"n": 4})
    log._flush()
    disk.room = 10_000
    log.append({"n": 5})
    log.close()
    lines = [json.loads(line) for line in disk.content.splitlines()]
    assert [line["n"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["prev"] == before["hash"] for before, line in itertools.pairwise(lines))


def test_two_servers_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.serving.audit.files.LOCK_S", 0.1)
    first = FolderSink(tmp_path, 10**6)
    with pytest.raises(BadInput, match="another server"):
        FolderSink(tmp_path, 10**6)
    first._lock.close()
    FolderSink(tmp_path, 10**6)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"short\n")
    with pytest.raises(BadInput, match="has 5 bytes; expected at least 16"):
        key_of(file)
