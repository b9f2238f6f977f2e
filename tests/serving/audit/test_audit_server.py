"""What a real server writes to its audit log: every request, of whom, with its outcome; a kill loses no old answer."""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.errors import BadInput
from slipway.serving.audit import options as audit_options
from slipway.serving.audit.chain import verify
from slipway.serving.audit.files import audit_files, places
from tests.conftest import free_port
from tests.serving.conftest import Server, Start

ROUND_S = 1.0
"""Allowed beyond the flush interval, for a machine so busy that the thread which writes has to wait for its turn."""


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(place.raw) for place in places(audit_files(folder))]


def requests_in(folder: Path) -> list[dict[str, Any]]:
    return [record for record in records(folder) if record.get("event") == "request"]


def stop(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def tensor(*texts: str) -> dict[str, Any]:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}


def test_every_request_is_recorded_with_its_model_and_outcome(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder = tmp_path / "audit"
    server = start(signed_bundle, "--public_key", keys.public_key, "--audit", folder, "--drain_seconds", "0")
    server.wait_ready()
    body = json.dumps({"inputs": [tensor("late parcel", "refund")]}).encode()
    answer = httpx.post(f"{server.model_url}/infer", content=body, headers={"x-request-id": "mine"})
    httpx.post(f"{server.url}/v2/models/nothing/infer", content=body)
    httpx.post(f"{server.url}/v1/models/messages:predict", json={"instances": [7]})
    httpx.post(f"{server.model_url}/infer", content=b"x" * 9_000_000)
    with grpc.insecure_channel(server.grpc) as channel:
        contents = {"bytes_contents": [b"late parcel"]}
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": contents}
        request = messages.ModelInferRequest(model_name="messages", inputs=[given])
        services.GRPCInferenceServiceStub(channel).ModelInfer(request)
    stop(server)
    assert verify(places(audit_files(folder))).problems == []
    everything = records(folder)
    assert [everything[0]["event"], everything[-1]["event"]] == ["started", "stopped"]
    found = requests_in(folder)
    assert [(one["protocol"], one["method"], one["status"], one["texts_count"]) for one in found] == [
        ("rest", "infer", 200, 2),
        ("rest", "infer", 404, 0),
        ("rest", "predict", 400, 0),
        ("rest", "infer", 413, 0),
        ("grpc", "infer", 200, 1),
    ]
    digest = Bundle(signed_bundle).digest()
    assert {(one["model"], one["version"], one["digest"]) for one in found} == {("messages", digest[7:19], digest)}
    first = found[0]
    assert (first["id"], first["caller"], first["bytes_in"]) == ("mine", "anonymous", len(body))
    assert first["bytes_out"] == len(answer.content)
    assert 0 < first["ms"] < 60_000
    assert len({one["id"] for one in found}) == 5
    assert not any("texts" in one for one in found)
    assert (
        f"event=audit_head file=audit-000001.jsonl seq={everything[-1]['seq']} hash={everything[-1]['hash']}"
        in server.log()
    )


def test_callers_are_named_and_those_that_are_refused_are_recorded_too(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder, file = tmp_path / "audit", tmp_path / "api-keys.json"
    key = api_keys.add(file, "shop", [Scope.PREDICT])[1]
    port = free_port()
    options: tuple[str | Path, ...] = ("--api_keys", file, "--rate", "0.001", "--burst", "4", "--drain_seconds", "0")
    options += ("--metrics_port", str(port))
    server = start(signed_bundle, "--public_key", keys.public_key, "--audit", folder, *options)
    until = time.monotonic() + 60
    while "event=listening" not in server.log() and time.monotonic() < until:
        time.sleep(0.1)
    mine = {"authorization": f"Bearer {key}"}
    content = {"id": "order-1", "inputs": [tensor("late parcel")]}
    contents = {"bytes_contents": [b"late parcel"]}
    given = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": contents}
    request = messages.ModelInferRequest(model_name="messages", id="order-2", inputs=[given])
    httpx.post(f"{server.model_url}/infer", json=content, headers=mine)
    httpx.post(f"{server.model_url}/infer", json=content)
    httpx.post(f"{server.url}/v2/repository/models/messages/unload", headers=mine)
    with grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(request, metadata=tuple(mine.items()))
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(request)
        while True:
            try:
                stub.ModelInfer(request, metadata=tuple(mine.items()))
            except grpc.RpcError:
                break
    httpx.post(f"{server.model_url}/infer", json=content, headers=mine)
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    stop(server)
    found = [(one["caller"], one["method"], one["protocol"], one["status"]) for one in requests_in(folder)]
    assert found[:5] == [
        ("shop", "infer", "rest", 200),
        ("anonymous", "infer", "rest", 401),
        ("shop", "unload", "rest", 403),
        ("shop", "infer", "grpc", 200),
        ("anonymous", "infer", "grpc", 401),
    ]
    assert found[-2:] == [("shop", "infer", "grpc", 429), ("shop", "infer", "rest", 429)]
    assert [requests_in(folder)[number]["id"] for number in (0, 3)] == ["order-1", "order-2"]
    assert key not in "".join(path.read_text() for path in audit_files(folder))
    for code, protocol in (("401", "rest"), ("401", "grpc"), ("429", "rest"), ("429", "grpc")):
        (sample,) = re.findall(rf'requests_total{{code="{code}",method="infer",.*protocol="{protocol}".*}} (.*)', page)
        assert float(sample) == 1
    assert "shop" not in page


def test_texts_are_kept_only_on_demand_and_redacted_and_signed_with_a_key(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder, key = tmp_path / "audit", tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    options = ("--audit", folder, "--audit_texts", "--audit_key", key, "--drain_seconds", "0")
    server = start(signed_bundle, "--public_key", keys.public_key, *options).wait_ready()
    assert server.infer("write to jane@example.com about my parcel", "call 030/1234567").status_code == 200
    stop(server)
    (found,) = requests_in(folder)
    assert found["texts"] == ["write to [email] about my parcel", "call [phone]"]
    assert verify(places(audit_files(folder)), key.read_bytes().strip()).problems == []
    assert verify(places(audit_files(folder))).problems != []


def test_the_log_may_go_to_the_standard_output(start: Start, signed_bundle: Path, keys: KeyPair) -> None:
    options = ("--audit", "-", "--drain_seconds", "0")
    server = start(signed_bundle, "--public_key", keys.public_key, *options).wait_ready()
    assert server.infer("late parcel").status_code == 200
    stop(server)
    checked = subprocess.run(
        [sys.executable, "-c", "from slipway.pipelines.cli.main import app; app()", "audit", "verify", "-"],
        input=server.log_file.read_bytes(),
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert b"intact" in checked.stdout
    assert b"3 lines" in checked.stdout


class Asker(threading.Thread):
    """A client that asks without pause, and remembers when it had each answer."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__()
        self.url, self.prefix = url, name
        self.answered: dict[str, float] = {}

    def run(self) -> None:
        with httpx.Client(timeout=30) as client:
            for number in range(10**6):
                request_id = f"{self.prefix}-{number}"
                try:
                    headers = {"x-request-id": request_id}
                    answer = client.post(self.url, json={"inputs": [tensor("late parcel")]}, headers=headers)
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                self.answered[request_id] = time.monotonic()


def test_a_kill_under_load_loses_no_request_that_was_answered_before_the_flush_interval(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder = tmp_path / "audit"
    options = ("--audit", folder, "--audit_flush_seconds", "0.2", "--audit_file_bytes", "50000")
    server = start(signed_bundle, "--public_key", keys.public_key, *options).wait_ready()
    askers = [Asker(f"{server.model_url}/infer", f"client{number}") for number in range(3)]

    def answered_before(seconds: float) -> set[str]:
        """Requests that had an answer so many seconds ago."""
        then = time.monotonic() - seconds
        return {name for asker in askers for name, at in asker.answered.copy().items() if at < then}

    for asker in askers:
        asker.start()
    until = time.monotonic() + 60
    while time.monotonic() < until and (len(answered_before(0.2 + ROUND_S)) < 200 or len(audit_files(folder)) < 2):
        time.sleep(0.05)
    killed = time.monotonic()
    server.process.kill()
    for asker in askers:
        asker.join()
    found = verify(places(audit_files(folder)))
    assert found.problems == []
    assert len(audit_files(folder)) > 1
    written = {one["id"] for one in requests_in_torn(folder)}
    old = {name for asker in askers for name, at in asker.answered.items() if at < killed - 0.2 - ROUND_S}
    assert len(old) > 100
    assert old - written == set()
    server = start(signed_bundle, "--public_key", keys.public_key, *options, "--drain_seconds", "0").wait_ready()
    stop(server)
    assert verify(places(audit_files(folder))).problems == []


def requests_in_torn(folder: Path) -> list[dict[str, Any]]:
    """The complete records of a log whose last line may be torn."""
    lines = [json.loads(place.raw) for place in places(audit_files(folder)) if place.complete]
    return [line for line in lines if line["event"] == "request"]


def test_a_server_whose_log_cannot_be_written_goes_on_and_says_so(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder = tmp_path / "audit"
    options = ("--audit", folder, "--audit_file_bytes", "1", "--drain_seconds", "0")
    server = start(signed_bundle, "--public_key", keys.public_key, *options).wait_ready()
    shutil.rmtree(folder)
    folder.write_text("in the way")
    for number in range(5):
        assert server.infer(f"parcel {number}").status_code == 200
    until = time.monotonic() + 30
    while "slipway_audit_errors_total 0.0" in httpx.get(f"{server.url}/metrics").text and time.monotonic() < until:
        time.sleep(0.1)
    assert "event=audit_failed" in server.log()
    folder.unlink()
    folder.mkdir()
    while not audit_files(folder) and time.monotonic() < until:
        time.sleep(0.1)
    stop(server)
    assert verify(places(audit_files(folder))).problems == []
    assert [one["status"] for one in requests_in(folder)][-4:] == [200] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--audit", "FILE/audit"], "the audit log cannot be written to"),
        (["--audit_texts"], "need --audit FOLDER"),
        (["--audit_head", "FILE"], "need --audit FOLDER"),
        (["--audit", "FOLDER", "--audit_head", "FOLDER/head"], "expected a file elsewhere"),
        (["--audit", "FOLDER", "--audit_flush_seconds", "0"], "--audit_flush_seconds is 0"),
        (["--audit", "FOLDER", "--audit_flush_seconds", "inf"], "--audit_flush_seconds is inf"),
        (["--audit", "FOLDER", "--audit_key", "FILE"], "has 0 bytes; expected at least 16"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "FILE").write_text("")
    parser = argparse.ArgumentParser()
    audit_options.add_to(parser)
    given = [str(tmp_path / option) if option.isupper() or "/" in option else option for option in options]
    with pytest.raises(BadInput, match=message):
        audit_options.audit_of(parser.parse_args(given))


def test_a_server_without_a_key_warns_and_one_with_a_key_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parser = argparse.ArgumentParser()
    audit_options.add_to(parser)
    (tmp_path / "key").write_text("k" * 32)
    for name, key in (("with", ["--audit_key", str(tmp_path / "key")]), ("without", [])):
        log = audit_options.audit_of(parser.parse_args(["--audit", str(tmp_path / name), *key]))
        assert log
        log.close()
        assert ("event=audit_without_key" in caplog.text) == (name == "without")
