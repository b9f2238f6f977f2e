"""Schemathesis holds the server to the OpenAPI document that it serves, with all checks: https://schemathesis.readthedocs.io"""

import subprocess
import sys
from pathlib import Path

import pytest

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.serving.conftest import Server, Start

EXAMPLES, SEED = "8", "7"
"""Per operation and phase (examples, coverage, fuzzing, stateful); some four hundred requests in all."""
CONFIGURATION = """
# JSON Schema cannot say that `shape` must fit the number of texts in `data`, nor that outputs need parameters.
[[operations]]
include-path-regex = "/infer$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "429"]
"""


def schemathesis(folder: Path, url: str, *options: str) -> None:
    """Run it in a process of its own; it knows how to find what breaks a server."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    program = Path(sys.executable).parent / "schemathesis"
    command: list[str | Path] = [program, "--config-file", configuration, "run", f"{url}/openapi.json"]
    command += ["--checks", "all", "--no-color", "--request-timeout", "60"]
    command += ["--max-examples", EXAMPLES, "--seed", SEED, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_server_does_what_its_document_says(server: Server, tmp_path: Path) -> None:
    # Nobody may load and unload here, which is said before any method is found wrong: see the test below.
    schemathesis(tmp_path, server.url, "--exclude-path-regex", "load$")
    assert server.infer("late parcel").json()["outputs"][0]["data"] == ["delivery"]
    assert "event=failed" not in server.log()


@pytest.fixture
def key(tmp_path: Path) -> str:
    made: str = api_keys.add(tmp_path / "keys.json", "tests", [Scope.PREDICT, Scope.EXPLAIN])[1]
    return made


def test_a_closed_server_does_so_too_and_no_path_forgets_to_ask_for_credentials(
    start: Start, signed_bundle: Path, keys: KeyPair, key: str, tmp_path: Path
) -> None:
    server = start(signed_bundle, "--public_key", keys.public_key, "--api_keys", tmp_path / "keys.json").wait_ready()
    schemathesis(tmp_path, server.url, "-H", f"x-api-key: {key}", "--phases", "examples,coverage")
    assert "event=failed" not in server.log()
