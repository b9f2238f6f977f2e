"""Start the worker processes of a training and wait for them."""

import json
import os
import re
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

from slipway.components import errors
from slipway.components.errors import SlipwayError
from slipway.components.machine import child_processes
from slipway.components.train.config import WorkerConfig

TAIL_LINES = 30
GRACE_SECONDS = 10.0
EXIT_CODE = re.compile(r"\bexitcode\s*:\s*(-?\d+)")
"""How torchrun reports the end of a worker; negative numbers are signals."""
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
            with terminable():
                words = self._forward(process)
                code = process.wait()
        finally:
            _stop(process)
        if code:
            self._fail(config, code, words)

    def _command(self, config: WorkerConfig, config_path: Path) -> list[str]:
        processes = f"--nproc-per-node={config.settings.processes}"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", processes]
        return [*torchrun, "-m", "slipway.components.train.worker", str(config_path)]

    def _environment(self, config: WorkerConfig) -> dict[str, str]:
        return child_processes.environment() | {
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(config.settings.threads_per_process),
            "TOKENIZERS_PARALLELISM": "false",
            "SLIPWAY_WATCH_STDIN": "1",
            **{name: os.environ.get(name, value) for name, value in MLFLOW_PATIENCE.items()},
        }

    def _forward(self, process: "subprocess.Popen[str]") -> "_LastWords":
        """Copy the output to the log and to standard error."""
        words = _LastWords()
        assert process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                sys.stderr.write(line)
                words.take(line)
        return words

    def _fail(self, config: WorkerConfig, code: int, words: "_LastWords") -> None:
        try:
            record = json.loads(config.error_file.read_text("utf-8"))
        except (OSError, ValueError):
            raise SlipwayError(
                f"{words.cause()} (torchrun exit code {code}); a new run of the step goes on from the last checkpoint. "
                f"All output is in {self.log}{words.end()}"
            ) from None
        kind = getattr(errors, record["kind"], SlipwayError)
        raise kind(record["message"])


class _LastWords:
    """What the output of torchrun says about why the workers ended."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.signals: list[int] = []
        self.agent_speaks = False

    def take(self, line: str) -> None:
        """Notice a line; once torchrun reports a failure, what follows is its own account of it."""
        if found := EXIT_CODE.search(line):
            self.agent_speaks = True
            number = -int(found[1])
            if number > 0 and number != signal.SIGTERM:  # SIGTERM is how torchrun ends the other workers
                self.signals.append(number)
        elif not self.agent_speaks and line.strip():
            self.tail.append(line)

    def cause(self) -> str:
        """One sentence; the workers that lose a killed one fail too, but tell nothing of the cause."""
        if not self.signals:
            return "a training worker failed"
        name = signal.Signals(self.signals[0]).name
        return f"a training worker was killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")

    def end(self) -> str:
        """The workers' last lines, unless they only say that another worker went away."""
        return "" if self.signals else f"; it ends with:\n{''.join(self.tail).strip()}"


@contextmanager
def terminable() -> Iterator[None]:
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
