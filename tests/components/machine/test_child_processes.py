"""Children that run our modules import ours, whatever lies in the folder that they start in."""

import subprocess
import sys
from pathlib import Path

import pytest

from slipway.components.machine import child_processes, cpu_count

COMMAND = [sys.executable, "-m", cpu_count.__name__]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a package of our name and a module of the standard library's."""
    (tmp_path / "slipway").mkdir()
    for file in ("slipway/__init__.py", "math.py", "os.py"):
        (tmp_path / file).write_text("raise SystemExit('a file of the project ran')\n")
    return tmp_path


@pytest.mark.parametrize("before", ["", "/somewhere"])
def test_files_of_the_current_folder_are_not_imported(
    project: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", before)
    child = subprocess.run(COMMAND, cwd=project, env=child_processes.environment(), capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")


def test_children_of_a_child_are_protected_too(project: Path) -> None:
    program = f"import subprocess, sys; sys.exit(subprocess.run({COMMAND!r}).returncode)"
    command = [sys.executable, "-c", program]
    child = subprocess.run(command, cwd=project, env=child_processes.environment(), capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, "")


def test_without_it_they_would_be(project: Path) -> None:
    child = subprocess.run(COMMAND, cwd=project, capture_output=True, text=True)
    assert "a file of the project ran" in child.stderr
