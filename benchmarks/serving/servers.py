"""The servers of the comparison, each a process of its own, started as its own documentation says."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

HOST = "127.0.0.1"
START_TIMEOUT_S = 180.0
CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    place: tuple[str, int]
    path: str
    start_s: float
    """From the process's start to ready."""
    process: psutil.Process
    question: Callable[[str], bytes]
    """The body of a request for one text."""

    def memory_mib(self) -> float:
        """Resident memory (proportional set size) of the process and its children."""
        family = [self.process, *self.process.children(recursive=True)]
        size: int = sum(member.memory_full_info().pss for member in family)
        return size / 2**20


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _question(name: str, parameters: dict[str, str] | None = None) -> Callable[[str], bytes]:
    def body(text: str) -> bytes:
        tensor = {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}
        return json.dumps({"inputs": [tensor | ({"parameters": parameters} if parameters else {})]}).encode()

    return body


@contextmanager
def _started(
    command: list[str], port: int, question: Callable[[str], bytes], log: Path, cwd: Path | None = None
) -> Iterator[Running]:
    began = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=cwd, start_new_session=True)
    ready = f"http://{HOST}:{port}/v2/models/bench/ready"
    try:
        while True:
            if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT_S:
                raise RuntimeError(f"{command[0]} did not start; see {log}: {log.read_text()[-800:]}")
            try:
                if httpx.get(ready, timeout=2.0, trust_env=False).status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        yield Running((HOST, port), "/v2/models/bench/infer", seconds, psutil.Process(process.pid), question)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def slipway(bundle: Path, folder: Path, *options: str, checkout: Path | None = None) -> Iterator[Running]:
    """Slipway's model server; with a checkout that of another commit."""
    port, grpc_port = free_port(), free_port()
    module = "slipway.serving" if ((checkout or CHECKOUT) / "slipway").is_dir() else "serving"
    command = [sys.executable, "-m", module, "--model_name=bench", f"--model_dir={bundle}", "--allow_unsigned"]
    command += ["--insecure_no_auth", f"--http_port={port}", f"--grpc_port={grpc_port}", *options]
    log = folder / f"slipway-{bundle.name}-{port}.log"
    with _started(command, port, _question("text"), log, checkout or CHECKOUT) as running:
        yield running


@contextmanager
def plain_kserve(checkpoint: Path, folder: Path) -> Iterator[Running]:
    """A KServe model that calls transformers per request."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("plain_kserve.py")), str(checkpoint), str(port)]
    with _started(command, port, _question("text"), folder / "plain-kserve.log") as running:
        yield running


@contextmanager
def mlserver(python: Path, checkpoint: Path, folder: Path, batch: int) -> Iterator[Running]:
    """MLServer with its Hugging Face runtime, in an environment of its own; `batch` texts in its adaptive batches."""
    port, grpc_port, metrics_port = free_port(), free_port(), free_port()
    place = folder / f"mlserver-{batch}"
    place.mkdir(exist_ok=True)
    model: dict[str, Any] = {
        "name": "bench",
        "implementation": "mlserver_huggingface.HuggingFaceRuntime",
        "parameters": {"extra": {"task": "text-classification", "pretrained_model": str(checkpoint)}},
    }
    if batch > 1:
        model |= {"max_batch_size": batch, "max_batch_time": 0.005}
    server = {"http_port": port, "grpc_port": grpc_port, "metrics_port": metrics_port, "debug": False}
    (place / "model-settings.json").write_text(json.dumps(model))
    (place / "settings.json").write_text(json.dumps(server | {"parallel_workers": 1, "host": HOST}))
    command = [str(python.with_name("mlserver")), "start", str(place)]
    question = _question("array_inputs", {"content_type": "str"})
    with _started(command, port, question, folder / f"mlserver-{batch}.log", cwd=place) as running:
        yield running
