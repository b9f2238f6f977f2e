"""`slipway audit verify`: which line of which log was changed, and exit codes for scripts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from serving.audit import AuditLog
from serving.audit_files import FolderSink, audit_files


def write(folder: Path) -> None:
    sink = FolderSink(folder, 10**6)
    log = AuditLog(sink, flush_s=60)
    for number in range(5):
        log.append({"event": "request", "n": number})
    log.close()
    sink._lock.close()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", "verify", *arguments])
    return result.exit_code, result.output


def test_all_logs_of_the_service_on_this_machine_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    assert run()[0] == 2
    for version in ("1", "2"):
        write(tmp_path / "service" / "audit" / version)
    code, output = run()
    assert (code, output.count("intact"), output.count("5 lines, seq 1 to 5")) == (0, 2, 2)
    (file,) = audit_files(tmp_path / "service" / "audit" / "2")
    file.write_bytes(file.read_bytes().replace(b'"n":2', b'"n":7'))
    code, output = run()
    assert (code, output.count("intact"), output.count("changed")) == (1, 1, 1)
    assert "audit-000001.jsonl, line 3 (seq 3) was altered" in output


def test_the_head_that_was_noted_must_be_there(tmp_path: Path):
    write(tmp_path)
    output = run(str(tmp_path))[1]
    head = output.split("head ")[1].split()[0]
    assert run(str(tmp_path), "--head", head)[0] == 0
    (file,) = audit_files(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
    assert run(str(tmp_path))[0] == 0
    assert run(str(file), "--head", head)[0] == 1
    assert run(str(tmp_path), "--head", "five")[0] == 2
    assert run(str(tmp_path / "nothing"))[0] == 2
