"""Start the worker processes of a training and wait for them."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

import components
from components import errors
from components.errors import SlipwayError
from components.train.config import WorkerConfig

TAIL_LINES = 30
GRACE_SECONDS = 10.0
AGENT_MARK = "torch/distributed/"
MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own defaults let a training wait many minutes for a tracking server that is away."""


class Launcher(Protocol):
    """Where worker processes run. All that they need is in the configuration file."""

    def launch(self, config_path: Path) -> None:
        """Run the workers to their end.

        Raises:
            SlipwayError: a worker failed; the message holds its last words.
        """


class LocalLauncher:
    """torchrun on this machine; `log` receives all output, which is also forwarded to standard error."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def launch(self, config_path: Path) -> None:
        """Run the workers to their end; they are stopped on SIGTERM, on an interrupt and when this process dies.

        Raises:
            SlipwayError: a worker failed; an error that Slipway understands keeps its class.
        """
        config = WorkerConfig.model_validate_json(config_path.read_text("utf-8"))
        config.error_file.unlink(missing_ok=True)
        process = subprocess.Popen(
            self._command(config, config_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment(config),
            start_new_session=True,
        )
        try:
            with _terminable():
                tail = self._forward(process)
                code = process.wait()
        finally:
            _stop(process)
        if code:
            self._fail(config, code, tail)

    def _command(self, config: WorkerConfig, config_path: Path) -> list[str]:
        processes = f"--nproc-per-node={config.settings.processes}"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", processes]
        return [*torchrun, "-m", "components.train.worker", str(config_path)]

    def _environment(self, config: WorkerConfig) -> dict[str, str]:
        root = str(Path(components.__file__).parents[1])
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        return os.environ | {
            "PYTHONPATH": search,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(config.settings.threads_per_process),
            "TOKENIZERS_PARALLELISM": "false",
            "SLIPWAY_WATCH_STDIN": "1",
            **{name: os.environ.get(name, value) for name, value in MLFLOW_PATIENCE.items()},
        }

    def _forward(self, process: "subprocess.Popen[str]") -> list[str]:
        """Copy the output to the log and to standard error; returns the last lines that workers wrote."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        agent_failed = False
        assert process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                sys.stderr.write(line)
                if AGENT_MARK in line and "failed (exitcode" in line:
                    agent_failed = True
                    tail.append(line.split("] ")[-1])
                if not agent_failed and line.strip():
                    tail.append(line)
        return list(tail)

    def _fail(self, config: WorkerConfig, code: int, tail: list[str]) -> None:
        try:
            record = json.loads(config.error_file.read_text("utf-8"))
        except (OSError, ValueError):
            end = "".join(tail).strip()
            raise SlipwayError(
                f"a training worker failed (torchrun exit code {code}); a new run of the step goes on from the last "
                f"checkpoint. All output is in {self.log}; it ends with:\n{end}"
            ) from None
        kind = getattr(errors, record["kind"], SlipwayError)
        raise kind(record["message"])


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that it passes through `finally`; only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(process: "subprocess.Popen[str]") -> None:
    """End torchrun and its workers, gently first; nothing happens when they have ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
