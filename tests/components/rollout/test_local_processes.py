"""Background processes of a service on this machine."""

import sys
from pathlib import Path

import pytest

from slipway.components.rollout.local import processes


def test_a_process_holds_no_secret_of_the_command_that_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("HF_HOME", "kept")
    shown = "import os, time; print(dict(os.environ), flush=True); time.sleep(60)"
    daemon = processes.start([sys.executable, "-c", shown], tmp_path / "log")
    try:
        while "kept" not in (tmp_path / "log").read_text():
            assert daemon.alive()
        assert "hidden" not in (tmp_path / "log").read_text()
    finally:
        daemon.stop(5.0)
