"""A pod's log is followed over HTTP although connections break and containers start again."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from kubernetes import client

from slipway.components.train.pod_log import LogFollower
from tests.background import eventually

ANSWERS: list[tuple[int, list[str]]] = []
"""What the log's address answers, one connection after the other: status, and lines; the last one repeats."""
ASKED: list[dict[str, list[str]]] = []


class LogAddress(BaseHTTPRequestHandler):
    """The API server's address of a pod's log."""

    def do_GET(self) -> None:  # noqa: N802
        ASKED.append(parse_qs(urlparse(self.path).query))
        status, lines = ANSWERS.pop(0) if len(ANSWERS) > 1 else ANSWERS[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write("".join(lines).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def core() -> Iterator[client.CoreV1Api]:
    """A client of an API server that only has this log."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), LogAddress)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    ASKED.clear()
    yield client.CoreV1Api(client.ApiClient(configuration))
    server.shutdown()


def line(second: int, text: str) -> str:
    """A line with the time at which it was written, as the API server tells it."""
    return f"{datetime(2026, 5, 1, 12, 0, second, tzinfo=UTC):%Y-%m-%dT%H:%M:%S}.123456789Z {text}\n"


def test_after_a_broken_connection_no_line_is_lost_or_told_twice(
    core: client.CoreV1Api, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.components.train.pod_log.RETRY_SECONDS", 0.01)
    one, two, three = line(1, "one"), line(2, "two"), line(3, "three")
    ANSWERS[:] = [(404, []), (200, [one, two[:10]]), (500, []), (200, [one, two, three])]
    with LogFollower(core, "slipway", "train-1-master-0"):
        eventually(lambda: len(ASKED) > 4)
    assert capfd.readouterr().err.split() == ["one", "two", "three"]
    assert "sinceSeconds" not in ASKED[1]
    assert "sinceSeconds" in ASKED[3]


def test_what_the_pod_wrote_last_is_told_before_the_follower_ends(
    core: client.CoreV1Api, capfd: pytest.CaptureFixture[str]
) -> None:
    ANSWERS[:] = [(404, []), (200, [line(9, "the end")])]
    with LogFollower(core, "slipway", "train-1-master-0"):
        eventually(lambda: ASKED)
    assert capfd.readouterr().err == "the end\n"


def test_progress_in_the_pod_is_progress_of_the_step(
    core: client.CoreV1Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    ANSWERS[:] = [(200, [line(1, "[train] 12/64 epoch 2: training loss 0.31"), line(2, "[train] starting")])]
    with LogFollower(core, "slipway", "train-1-master-0"):
        eventually(lambda: ASKED)
    events = [json.loads(event) for event in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [(event["message"], event.get("done"), event.get("total")) for event in events] == [
        ("epoch 2: training loss 0.31", 12.0, 64.0),
        ("starting", None, None),
    ]
