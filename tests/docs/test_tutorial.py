"""The tutorial, as a reader follows it: what takes seconds is run here, what takes minutes has a test that runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.pipelines.settings import load_settings
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.shell import commands

PAGE = ROOT / "docs" / "tutorial.md"
SHOWN = list(blocks(PAGE, "sh"))
HERE = "here"


def test_every_block_says_what_runs_it() -> None:
    assert [str(block) for block in SHOWN if not block.mark] == []


@pytest.mark.parametrize("block", [block for block in SHOWN if block.mark != HERE], ids=str)
def test_the_test_that_is_named_runs_these_commands(block: Block) -> None:
    """It has the command's words: `"rollback"` for `slipway rollback`."""
    name = block.mark.split(":")[0]
    source = (ROOT / name).read_text("utf-8")
    if name == "tests/local/test_slipway_run.py":
        for words in commands(block.code):
            if words[:2] not in (["slipway", "explain"],):  # tests/pipelines/cli/test_explain.py
                assert f'"{words[1]}"' in source, words


def test_the_settings_that_are_shown_are_those_that_the_commands_make_of_the_data(tmp_path: Path) -> None:
    """The blocks marked `here`, in order, by a real shell in a folder with a copy of what they need."""
    (tmp_path / "components").symlink_to(ROOT / "components")
    script = "set -euo pipefail\n" + "".join(block.code for block in SHOWN if block.mark == HERE)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLIPWAY_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "slipway"
    program.write_text(f"#!{sys.executable}\nfrom slipway.pipelines.cli.main import app\napp()\n", "utf-8")
    program.chmod(0o755)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("message,topic\n")
    assert re.search(r"^slipway_\S+$", done.stdout, re.MULTILINE), "the key is printed"
    assert re.search(r"shop +predict", done.stdout)

    made = load_settings(tmp_path / "slipway.yaml")
    (shown,) = [block for block in blocks(PAGE, "yaml") if "data:" in block.code]
    (tmp_path / "shown.yaml").write_text(shown.code, "utf-8")
    assert made == load_settings(tmp_path / "shown.yaml")
