"""Starts, finds and stops background processes that outlive the command that starts them: model servers and Envoy.

A process is identified by its id and its start time, since the system reuses ids. Only a process with both is ever
signalled.
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
"""Prefixes of environment variables that a daemon does not inherit: it does not need them, and some hold secrets."""
CLOCK_TOLERANCE_S = 2.0
"""Tolerance for start times: psutil derives them from the boot time, which moves when the clock is set."""
BACKEND_PORTS = range(20000, 32000)
"""Ports of model servers. They lie below those that the system gives to outgoing connections, so that no connection
takes a port while a server starts."""
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
        """Whether the process runs."""
        return self._process() is not None

    def stop(self, grace_s: float) -> None:
        """Stop the process and return when it is gone; a second call changes nothing.

        Args:
            grace_s: time limit to end after SIGTERM, in seconds; then follows SIGKILL.

        Raises:
            SlipwayError: the process does not end.
        """
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
    """Reap a child that is a zombie, so that the system can free its id."""
    with contextlib.suppress(ChildProcessError, OSError):
        os.waitpid(pid, os.WNOHANG)


def start(command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> Daemon:
    """Start a process in a session of its own. It may end at once, so the caller checks `alive`.

    Args:
        command: the program and its arguments.
        log: file to which the output is appended; its folder is the process's current folder.
        variables: added to the environment.
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
    process.returncode = 0  # else Popen warns that the process still runs; `Daemon` stops and reaps it
    return Daemon(process.pid, started)


def find(command: Sequence[str]) -> Daemon | None:
    """The process that runs exactly this command; None when there is none."""
    for process in psutil.process_iter(["cmdline", "create_time"]):
        if process.info["cmdline"] == list(command):
            return Daemon(process.pid, process.info["create_time"])
    return None


def free_ports(count: int) -> list[int]:
    """Different ports on which no process listens now.

    Raises:
        SlipwayError: there are not enough.
    """
    free = (port for port in random.sample(BACKEND_PORTS, 300) if port_problem("127.0.0.1", port) is None)
    ports = list(itertools.islice(free, count))
    if len(ports) < count:
        raise SlipwayError(f"no free ports from {BACKEND_PORTS[0]} to {BACKEND_PORTS[-1]} on this machine")
    return ports


def port_problem(host: str, port: int) -> str | None:
    """Why a process cannot listen on a port, or None."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def holder_of(port: int) -> str:
    """The process that listens on a port of this machine, as a phrase; empty when this user may not see it.

    The phrase names the process's current folder, which for the proxy of another Slipway home is that service's.
    """
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                holder = f"process {process.pid} ({process.name()})"
                with contextlib.suppress(psutil.Error):
                    holder += f" in {process.cwd()}"
                return holder
    return ""


def last_line(log: Path, containing: str = "", size: int = 16384) -> str:
    """The last non-empty line of a log that contains a text, at most 500 characters; empty when there is none.

    Args:
        log: the file.
        containing: text that the line contains.
        size: bytes at the end of the file that are searched.
    """
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - size, 0))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return next((line.strip()[:500] for line in reversed(lines) if line.strip() and containing in line), "")
    return ""
