"""`slipway audit verify`: which line of which log was changed, and exit codes for scripts."""

import argparse
import json
import shutil
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from slipway.components.rollout.local import access
from slipway.pipelines.cli.main import app
from slipway.serving.audit import options
from slipway.serving.audit.audit_log import AuditLog
from slipway.serving.audit.files import FolderSink, audit_files


def write(folder: Path) -> None:
    sink = FolderSink(folder, 10**6)
    log = AuditLog(sink, flush_s=60)
    for number in range(5):
        log.append({"event": "request", "n": number})
    log.close()
    sink._lock.close()


def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", "verify", *arguments], input=stdin)
    return result.exit_code, result.output


def test_all_logs_of_the_service_on_this_machine_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_head_that_was_noted_must_be_there(tmp_path: Path) -> None:
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


def local_life(tmp_path: Path, version: str, count: int) -> None:
    """A server of the service on this machine, with the options that the local target gives it."""
    parser = argparse.ArgumentParser()
    options.add_to(parser)
    (tmp_path / "service").mkdir(exist_ok=True)
    log = options.audit_of(parser.parse_args(access.audit_options(tmp_path / "service", version)))
    assert log
    for number in range(count):
        log.append({"n": number})
    log.close()
    log._sink._lock.close()  # type: ignore[attr-defined]


def test_the_logs_of_this_machine_are_checked_with_its_key_and_its_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    local_life(tmp_path, "1", 5)
    local_life(tmp_path, "2", 5)
    key = tmp_path / "service" / "audit-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert run()[0] == 0
    (file,) = audit_files(tmp_path / "service" / "audit" / "1")
    whole = file.read_bytes()
    file.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    code, output = run()
    assert (code, "the log ends with seq 4, but seq 5 was noted" in output) == (1, True)
    shutil.rmtree(file.parent)
    code, output = run()
    assert (code, "the log ends with seq 0, but seq 5 was noted" in output) == (1, True)
    local_life(tmp_path, "1", 9)
    code, output = run()
    assert (code, "missed seq [5]" in output) == (1, True)
    file.write_bytes(whole)
    key.unlink()
    assert "was altered, or written with another key" in run(str(file.parent))[1]


def test_heads_come_from_a_file_or_from_the_ordinary_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    write(folder)
    (file,) = audit_files(folder)
    last = file.read_bytes().splitlines()[-1]
    seq, value = json.loads(last)["seq"], json.loads(last)["hash"]
    logged = f"2026-01-01 INFO serving event=audit_head file=audit-000001.jsonl seq={seq} hash={value}\nmore\n"
    (tmp_path / "heads").write_text(json.dumps({"seq": seq, "hash": value, "file": file.name}) + "\n")
    ways = [(f"{seq}:{value}", ""), ("-", logged), (str(tmp_path / "heads"), "")]
    assert [run(str(folder), "--head", given, stdin=text)[0] for given, text in ways] == [0, 0, 0]
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    assert run(str(folder))[0] == 0
    assert [run(str(folder), "--head", given, stdin=text)[0] for given, text in ways] == [1, 1, 1]
    assert run("-", "--head", "-", stdin=logged)[0] == 2
