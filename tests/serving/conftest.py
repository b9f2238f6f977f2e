"""Real model servers on free ports, and bundles to serve: a good one, and a moody one for what can go wrong."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from slipway.components.artifacts.bundle import MODEL, TOKENIZER
from slipway.components.artifacts.signing import KeyPair, key_pair, sign
from tests.conftest import free_port

MODEL_NAME = "messages"
CLOSED = ("--api_keys", "--jwt_issuer", "--client_ca")
"""Options that say who may call; without one of them a server of the tests answers everybody."""
SLOW, BAD = "again", "why"
"""Words that make the moody model compute for long, or raise."""


@dataclass
class Server:
    """A `python -m slipway.serving` process."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    log_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def model_url(self) -> str:
        return f"{self.url}/v2/models/{MODEL_NAME}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def log(self) -> str:
        return self.log_file.read_text("utf-8")

    def infer(self, *texts: object, **fields: object) -> httpx.Response:
        """A V2 request with a fresh connection."""
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
        return httpx.post(f"{self.model_url}/infer", json={"inputs": [tensor], **fields}, timeout=30)

    def wait_ready(self) -> "Server":
        until = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < until:
            try:
                if httpx.get(f"{self.model_url}/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"not ready, exit code {self.process.poll()}: {self.log()}")


class Start(Protocol):
    """Start a server: `start(bundle, "--public_key", key)`."""

    def __call__(
        self,
        bundle: Path,
        *options: str | Path,
        http_port: int = 0,
        grpc_port: int = 0,
        open: bool = True,
        program: tuple[str, ...] = ("-m", "slipway.serving"),
    ) -> Server: ...


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """A function that starts servers, which end with the context."""
    with ExitStack() as ends:

        def start(
            bundle: Path,
            *options: str | Path,
            http_port: int = 0,
            grpc_port: int = 0,
            open: bool = True,
            program: tuple[str, ...] = ("-m", "slipway.serving"),
        ) -> Server:
            ports = (http_port or free_port(), grpc_port or free_port())
            log_file = folder / f"{ports[0]}.log"
            command: list[str | Path] = [sys.executable, *program, "--model_name", MODEL_NAME, "--model_dir", bundle]
            command += ["--http_port", str(ports[0]), "--grpc_port", str(ports[1]), "--threads", "1", *options]
            if open and not any(option in CLOSED for option in options):
                command.append("--insecure_no_auth")
            log: IO[bytes] = ends.enter_context(log_file.open("wb"))
            process = subprocess.Popen(command, stderr=log, stdout=log)
            ends.callback(process.wait)
            ends.callback(process.kill)
            return Server(process, *ports, log_file)

        yield start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server: `start(bundle, "--public_key", key)`."""
    with starting(tmp_path) as function:
        yield function


@pytest.fixture(scope="module")
def module_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """The same for servers that the tests of a module share."""
    with starting(tmp_path_factory.mktemp("servers")) as function:
        yield function


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def signed_bundle(draft_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle that knows the topics. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("signed") / "bundle"
    shutil.copytree(draft_bundle, folder)
    sign(folder, keys.private_key)
    return folder


@pytest.fixture(scope="session")
def moody_bundle(draft_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unsigned bundle: texts with the word `again` take about a second, those with `why` make the model raise."""
    folder = tmp_path_factory.mktemp("moody") / "bundle"
    shutil.copytree(draft_bundle, folder)
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    slow, bad = tokenizer.token_to_id(SLOW), tokenizer.token_to_id(BAD)
    assert slow is not None
    assert bad is not None
    write_moody_model(folder / MODEL, slow, bad)
    return folder


def write_moody_model(path: Path, slow: int, bad: int, rounds: int = 600, width: int = 512) -> None:
    """Logits 2, 1, 0 for every text; a loop runs when the token `slow` occurs, an index is out of bounds at `bad`."""
    constants = {
        "slow": np.array(slow),
        "bad": np.array(bad),
        "rounds": np.array([rounds]),
        "zeros": np.zeros(1, np.float32),
        "square": np.eye(width, dtype=np.float32),
        "corner": np.array([0]),
        "one": np.array([1]),
        "row": np.array([[2, 1, 0]], np.float32),
        "no": np.zeros(1, np.float32),
        "axis": np.array([1]),
    }
    node = helper.make_node
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("MatMul", ["x", "square"], ["y"])],
        "round",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [width, width]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [width, width]),
        ],
    )
    nodes = [
        node("Equal", ["input_ids", "slow"], ["is_slow"]),
        node("Cast", ["is_slow"], ["slow_counts"], to=TensorProto.INT64),
        node("ReduceMax", ["slow_counts"], ["any_slow"], keepdims=0),
        node("Mul", ["any_slow", "rounds"], ["trips"]),
        node("Loop", ["trips", "", "square"], ["looped"], body=body),
        node("ReduceMean", ["looped"], ["mean"], keepdims=0),
        node("Mul", ["mean", "no"], ["nothing"]),
        node("Equal", ["input_ids", "bad"], ["is_bad"]),
        node("Cast", ["is_bad"], ["bad_counts"], to=TensorProto.INT64),
        node("ReduceMax", ["bad_counts"], ["any_bad"], keepdims=0),
        node("Gather", ["zeros", "any_bad"], ["zero"]),
        node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        node("ReduceSum", ["ids", "axis"], ["sums"], keepdims=1),
        node("Mul", ["sums", "no"], ["column"]),
        node("Add", ["column", "row"], ["shaped"]),
        node("Add", ["shaped", "nothing"], ["almost"]),
        node("Add", ["almost", "zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "moody",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", 3])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture(scope="session")
def server(signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the signed bundle that all tests share."""
    with starting(tmp_path_factory.mktemp("server")) as function:
        yield function(signed_bundle, "--public_key", keys.public_key).wait_ready()


@pytest.fixture(scope="session")
def moody(moody_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the moody bundle that all tests share; it computes one batch at a time."""
    one_stream = ("--threads", str(len(os.sched_getaffinity(0))))
    with starting(tmp_path_factory.mktemp("moody_server")) as function:
        yield function(moody_bundle, "--allow_unsigned", *one_stream).wait_ready()
