"""Files that are replaced in one move."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.components.machine import whole_file


def test_a_file_holds_what_replaced_it_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    whole_file.replace(tmp_path / "a", "ä")
    whole_file.replace(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]


def test_after_an_error_the_old_content_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    whole_file.replace(tmp_path / "a", "old")

    def break_off() -> None:
        with whole_file.replacing(tmp_path / "a") as new:
            new.write_text("a part")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_a_file_has_its_rights_before_it_has_content(tmp_path: Path) -> None:
    with whole_file.replacing(tmp_path / "key", mode=0o600) as new:
        assert new.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "a").symlink_to(tmp_path / "other")
    whole_file.replace(tmp_path / "a", "new")
    assert (tmp_path / "other").read_text() == "other"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("durable", [True, False])
def test_content_is_on_the_disk_before_its_name_and_the_folder_after(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    sync, rename = os.fsync, Path.replace

    def syncing(number: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{number}").readlink() == tmp_path else "content")
        sync(number)

    def renaming(self: Path, target: Path) -> Path:
        done.append("name")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", renaming)
    whole_file.replace(tmp_path / "a", "new", durable=durable)
    assert done == (["content", "name", "folder"] if durable else ["name"])


WRITER = """
import sys
from pathlib import Path
from slipway.components.machine import whole_file
for _ in range(200):
    whole_file.replace(Path(sys.argv[1]), sys.argv[2] * 100_000, durable=False)
"""


def test_processes_that_replace_a_file_at_a_time_leave_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole_file.replace(path, "x" * 100_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "yz"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        content = path.read_text()
        assert len(content) == 100_000
        seen |= set(content)
        assert len(set(content)) == 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen & {"y", "z"}
    assert list(tmp_path.iterdir()) == [path]
