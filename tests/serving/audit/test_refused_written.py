"""What is written of refused requests, to clients, to the log and to the audit log: short, and not without end."""

import json
import logging
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.serving.audit.chain import verify
from slipway.serving.audit.files import audit_files, places
from slipway.serving.audit.unknown_callers import BURST, REPORT_S, UnknownCallers
from slipway.serving.errors import MESSAGE_LIMIT, client_message
from slipway.serving.telemetry.log import CHARACTERS, ShortLines, WarningLimit
from slipway.serving.telemetry.rate_limit import RateLimit
from tests.serving.audit.test_audit_server import records, stop
from tests.serving.conftest import Server, Start

LONG = "n" * 500_000
ASKED = 600


@pytest.mark.parametrize("tensor", [{"datatype": "FP32", "shape": [1]}, {"datatype": "BYTES", "shape": [1, 2, 3]}])
def test_a_long_name_comes_back_short_in_the_answer_and_in_the_log(server: Server, tensor: dict[str, Any]) -> None:
    before = len(server.log())
    inputs = [{"name": LONG, "data": ["late parcel"], **tensor}]
    answer = httpx.post(f"{server.model_url}/infer", json={"inputs": inputs})
    assert (answer.status_code, len(answer.content) < 2000) == (400, True)
    contents = {"contents": {"bytes_contents": [b"late parcel"]}}
    request = messages.ModelInferRequest(model_name="messages", inputs=[{"name": LONG, **tensor, **contents}])
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        services.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.value.details()) < 2000
    assert len(server.log()) - before < 4000


def test_a_long_path_is_short_in_the_log(server: Server) -> None:
    before = len(server.log())
    assert httpx.get(f"{server.url}/{LONG[:50_000]}").status_code == 404
    assert len(server.log()) - before < 2000


def test_messages_are_told_whole_up_to_a_length() -> None:
    assert client_message(ValueError("short")) == "short"
    assert len(client_message("x" * 10**6)) < MESSAGE_LIMIT + 40


def test_refused_strangers_are_a_sample_in_the_audit_log_and_callers_are_all_there(
    start: Start, moody_bundle: Path, tmp_path: Path
) -> None:
    folder, file = tmp_path / "audit", tmp_path / "api-keys.json"
    _, key = api_keys.add(file, "shop", [Scope.PREDICT])
    options = ("--api_keys", file, "--audit", folder, "--drain_seconds", "0")
    server = start(moody_bundle, "--allow_unsigned", *options).wait_ready()
    url, body = f"{server.url}/v1/models/messages:predict", json.dumps({"instances": ["late parcel"]})
    with httpx.Client(timeout=30) as client:
        for number in range(ASKED):
            assert client.post(url, content=body).status_code == 401
            if number % 10 == 0:
                assert client.post(url, content=body, headers={"x-api-key": key}).status_code == 200
        page = client.get(f"{server.url}/metrics", headers={"x-api-key": key}).text
    stop(server)
    assert verify(places(audit_files(folder))).problems == []
    everything = records(folder)
    statuses = [one["status"] for one in everything if one["event"] == "request"]
    assert statuses.count(200) == ASKED // 10
    assert statuses.count(401) < 2 * BURST
    left_out = [one for one in everything if one["event"] == "left_out"]
    assert sum(one["records"] for one in left_out) + statuses.count(401) == ASKED
    assert set().union(*(one["statuses"] for one in left_out)) == {"401"}
    counted = next(line for line in page.splitlines() if line.startswith("slipway_audit_left_out_total"))
    assert float(counted.split()[1]) > ASKED / 2
    assert server.log().count("event=denied") < ASKED / 2
    assert "slipway_log_left_out_total" in page


class Clock:
    """A time that passes when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_number_of_those_left_out_is_written_from_time_to_time() -> None:
    clock = Clock()
    strangers = UnknownCallers(clock)
    assert sum(strangers.wants(401) for _ in range(BURST + 5)) == BURST
    assert strangers.report() is None
    clock.now += REPORT_S
    assert strangers.report() == {"event": "left_out", "records": 5, "statuses": {"401": 5}}
    assert strangers.report(at_once=True) is None


def test_a_pace_is_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    pace = RateLimit(2.0, 3, clock)
    assert [pace.allows() for _ in range(5)] == [True, True, True, False, False]
    clock.now += 0.51
    assert [pace.allows() for _ in range(2)] == [True, False]


def logged(text: str, *values: object, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("serving", level, "", 0, text, values, None)


def test_warnings_of_a_kind_are_written_now_and_then_and_others_are_not_kept_back() -> None:
    sparing = WarningLimit()
    assert sum(sparing.filter(logged("event=denied path=%r", number)) for number in range(1000)) < 200
    assert sparing.filter(logged("event=refused path=%r", "/"))
    assert all(sparing.filter(logged("event=denied", level=logging.ERROR)) for _ in range(1000))


def test_a_line_is_short_whatever_is_in_it() -> None:
    line = ShortLines("%(message)s").format(logged("event=refused reason=%r", "x" * 10**6))
    assert len(line) < CHARACTERS + 40
