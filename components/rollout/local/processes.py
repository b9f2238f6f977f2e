"""Background processes that outlive the command which starts them, and are never confused with others.

A process is remembered by its id and the moment it started. The system gives ids out again, so a process counts as ours
only when both fit; nothing else is ever signalled.
"""

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from slipway.components.errors import SlipwayError
from slipway.components.machine import child_processes

PRIVATE_PREFIXES = ("AWS_", "MLFLOW_", "SLIPWAY_", "KFP_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Variables that a daemon has no use for and should not hold."""
CLOCK_TOLERANCE_S = 2.0
"""psutil counts the start from the boot time, which moves when the clock is set."""
BACKEND_PORTS = range(20000, 32000)
"""Below the ports that the system gives to outgoing connections, so that none takes one while a server starts."""
POLL_S = 0.05


@dataclass(frozen=True)
class Daemon:
    """A process in the background."""

    pid: int
    started: float
    """Seconds since the epoch."""

    def _process(self) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                _reap(self.pid)
            elif abs(process.create_time() - self.started) < CLOCK_TOLERANCE_S:
                return process
        return None

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process() is not None

    def stop(self, grace_s: float) -> None:
        """End it, gently first; return when it is gone. To stop it again changes nothing."""
        for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            process = self._process()
            if process is None:
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            end = time.monotonic() + patience
            while self.alive() and time.monotonic() < end:
                time.sleep(POLL_S)
        if self.alive():
            raise SlipwayError(f"process {self.pid} does not end, not even killed; see `ps -p {self.pid}`")


def _reap(pid: int) -> None:
    """Take leave of a dead child, so that its id does not linger."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)


def start(command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> Daemon:
    """Start a process in a session of its own; its output is appended to `log`. It may end at once: look at it.

    `variables` are added to its environment.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    inherited = child_processes.environment()
    kept = {name: value for name, value in inherited.items() if not name.startswith(PRIVATE_PREFIXES)}
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=kept | {"PYTHONUNBUFFERED": "1"} | dict(variables or {}),
            start_new_session=True,
        )
    try:
        started = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        started = time.time()
    process.returncode = 0  # it is not ours to wait for; `Daemon` looks after it
    return Daemon(process.pid, started)


def find(command: Sequence[str]) -> Daemon | None:
    """The process that runs exactly this command, if one does."""
    for process in psutil.process_iter(["cmdline", "create_time"]):
        if process.info["cmdline"] == list(command):
            return Daemon(process.pid, process.info["create_time"])
    return None


def free_ports(count: int) -> list[int]:
    """Different ports on which nobody listens now."""
    free = (port for port in random.sample(BACKEND_PORTS, 300) if port_problem("127.0.0.1", port) is None)
    ports = list(itertools.islice(free, count))
    if len(ports) < count:
        raise SlipwayError(f"no free ports from {BACKEND_PORTS[0]} to {BACKEND_PORTS[-1]} on this machine")
    return ports


def port_problem(host: str, port: int) -> str | None:
    """Why one cannot listen on a port, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def holder_of(port: int) -> str:
    """Who listens on a port of this machine, in words; empty when this user may not know.

    The proxy of another home of Slipway runs in the folder of its service.
    """
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                who = f"process {process.pid} ({process.name()})"
                with contextlib.suppress(psutil.Error):
                    who += f" in {process.cwd()}"
                return who
    return ""


def last_line(log: Path, containing: str = "", size: int = 16384) -> str:
    """The last line of a log that is not empty and has the given words, at most 500 characters; or empty."""
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - size, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return next((line.strip()[:500] for line in reversed(lines) if line.strip() and containing in line), "")
    return ""
