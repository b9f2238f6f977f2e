"""Start the worker processes of a training and wait for them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Protocol

from slipway.components import errors
from slipway.components.errors import SlipwayError
from slipway.components.machine import child_processes
from slipway.components.machine.termination import terminable
from slipway.components.train.config import WorkerConfig

TAIL_LINES = 30
GRACE_SECONDS = 10.0
"""Time that torchrun and its workers have to end after SIGTERM, before SIGKILL."""
EXIT_CODE = re.compile(r"\bexitcode\s*:\s*(-?\d+)")
"""The line in which torchrun reports the end of a worker. A negative number is a signal."""
MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""With MLflow's own defaults a training would wait many minutes for a tracking server that does not respond."""


class Launcher(Protocol):
    """Runs worker processes somewhere. The configuration file has everything that they need."""

    def launch(self, config_path: Path) -> None:
        """Run the workers to their end.

        Raises:
            SlipwayError: a worker failed. The message has the end of its output.
        """


class LocalLauncher:
    """Runs the workers by torchrun on this machine.

    Args:
        log: file that all output is appended to. The output is also copied to standard error.
    """

    def __init__(self, log: Path) -> None:
        self.log = log

    def launch(self, config_path: Path) -> None:
        """Run the workers to their end. They are stopped on SIGTERM, on an interrupt, and when this process dies.

        Raises:
            SlipwayError: a worker failed. A SlipwayError of a worker keeps its class.
        """
        config = WorkerConfig.model_validate_json(config_path.read_text("utf-8"))
        config.error_file.unlink(missing_ok=True)
        process = subprocess.Popen(
            self._command(config, config_path),
            stdin=subprocess.PIPE,  # never written to: when this process dies it closes, and the workers stop
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment(config),
            start_new_session=True,
        )
        try:
            with terminable():
                output = self._forward(process)
                code = process.wait()
        finally:
            _stop(process)
        if code:
            self._fail(config, code, output)

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

    def _forward(self, process: "subprocess.Popen[str]") -> "_WorkerOutput":
        """Copy the output to the log and to standard error."""
        output = _WorkerOutput()
        assert process.stdout is not None
        with self.log.open("a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                sys.stderr.write(line)
                output.take(line)
        return output

    def _fail(self, config: WorkerConfig, code: int, output: "_WorkerOutput") -> None:
        try:
            record = json.loads(config.error_file.read_text("utf-8"))
        except (OSError, ValueError):
            raise SlipwayError(
                f"{output.cause()} (torchrun exit code {code}); a new run of the step goes on from the last "
                f"checkpoint. All output is in {self.log}{output.end()}"
            ) from None
        kind = getattr(errors, record["kind"], SlipwayError)
        raise kind(record["message"])


class _WorkerOutput:
    """Finds the reason why the workers ended in the output of torchrun."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.signals: list[int] = []
        self.agent_speaks = False

    def take(self, line: str) -> None:
        """Take note of a line. After torchrun reports a failure, its own lines follow, which are not kept."""
        if match := EXIT_CODE.search(line):
            self.agent_speaks = True
            number = -int(match[1])
            if number > 0 and number != signal.SIGTERM:  # SIGTERM is how torchrun ends the other workers
                self.signals.append(number)
        elif not self.agent_speaks and line.strip():
            self.tail.append(line)

    def cause(self) -> str:
        """The cause, as one sentence. After a kill the other workers fail too, but their errors do not show the cause.

        So only the first signal is reported.
        """
        if not self.signals:
            return "a training worker failed"
        name = signal.Signals(self.signals[0]).name
        return f"a training worker was killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")

    def end(self) -> str:
        """The workers' last lines; empty after a kill, since they only report that a worker is missing."""
        return "" if self.signals else f"; it ends with:\n{''.join(self.tail).strip()}"


def _stop(process: "subprocess.Popen[str]") -> None:
    """Stop torchrun and its workers: by SIGTERM, then by SIGKILL. Does nothing when they have ended."""
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
