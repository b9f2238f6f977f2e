"""What a server says of its queue, its batches and of drift; processes that share a folder answer for each other."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.artifacts.bundle import Bins, Bundle, updated_info, write_info
from slipway.components.artifacts.drift_reference import reference_of
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.conftest import free_port
from tests.serving.conftest import Server, Start

USUAL = ["late parcel", "where is my parcel", "refund please", "thank you for the quick help", "the app crashes again"]


def values(server: Server, name: str, by: str = "model_name") -> dict[str, float]:
    """The samples of a name by the value of one label."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    return {
        sample.labels.get(by, ""): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_batches_tokens_padding_and_waits_are_counted(server: Server) -> None:
    names = ("slipway_batch_texts_count", "slipway_batch_texts_sum", "slipway_queue_wait_seconds_count")
    before = [values(server, name).get("messages", 0) for name in names]
    tokens = values(server, "slipway_tokens_total", by="kind")
    lengths = [len(item) for item in server_tokens(server, "late parcel", "late parcel today")]
    assert server.infer("late parcel", "late parcel today").status_code == 200
    after = [values(server, name)["messages"] for name in names]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 2, 1]
    new = values(server, "slipway_tokens_total", by="kind")
    assert new["text"] - tokens.get("text", 0) == sum(lengths)
    assert new["padding"] - tokens.get("padding", 0) == 2 * max(lengths) - sum(lengths)
    assert values(server, "slipway_texts_waiting")["messages"] == 0


def server_tokens(server: Server, *texts: str) -> list[Any]:
    given = server.process.args
    assert isinstance(given, list)
    arguments = list(map(str, given))
    return Classifier(arguments[arguments.index("--model_dir") + 1]).tokenizer.encode_batch(list(texts))


def ask_over_rest_and_go(server: Server) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.model_url}/infer", json=question(["please"] * 5), timeout=0.2)


def ask_over_grpc_and_go(server: Server) -> None:
    contents = {"bytes_contents": [b"please"] * 5}
    tensor = {"name": "text", "shape": [5], "datatype": "BYTES", "contents": contents}
    request = messages.ModelInferRequest(model_name="messages", inputs=[tensor])
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=0.2)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("ask_and_go", [ask_over_rest_and_go, ask_over_grpc_and_go])
def test_texts_of_clients_that_have_gone_are_dropped_before_compute(
    moody: Server, ask_and_go: Callable[[Server], None]
) -> None:
    names = ("slipway_texts_dropped_total", "slipway_batch_texts_sum", "slipway_batch_texts_count")
    dropped, computed, batches = (values(moody, name).get("messages", 0) for name in names)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(moody.infer, "again")
        until = time.monotonic() + 30
        while values(moody, names[2]).get("messages", 0) == batches and time.monotonic() < until:
            time.sleep(0.01)
        ask_and_go(moody)
        assert slow.result().status_code == 200
    assert moody.infer("please").status_code == 200
    now = [values(moody, name)["messages"] for name in names]
    assert [now[0] - dropped, now[1] - computed] == [5, 2]


def question(texts: list[str]) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}]}


@pytest.fixture
def referenced(draft_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose reference is of the usual texts."""
    folder = tmp_path / "referenced"
    shutil.copytree(draft_bundle, folder)
    reference: dict[str, Bins] = reference_of(Classifier(folder), USUAL * 60)
    write_info(folder, updated_info(Bundle(folder).info, reference=reference))
    return folder


def test_usual_texts_are_no_drift_and_others_are(start: Start, referenced: Path) -> None:
    server = start(referenced, "--allow_unsigned").wait_ready()
    assert values(server, "slipway_drift_texts") == {"messages": 0.0}
    for _ in range(4):
        assert server.infer(*USUAL * 20).status_code == 200
    index, by_chance = (
        values(server, name, by="feature") for name in ("slipway_drift_index", "slipway_drift_index_by_chance")
    )
    assert set(index) == {"label", "confidence", "length", "unknown"}
    assert all(index[feature] < min(0.05, by_chance[feature]) for feature in index), (index, by_chance)
    assert values(server, "slipway_drift_texts") == {"messages": 400.0}
    labels = values(server, "slipway_predictions_total", by="label")
    assert sum(labels.values()) == 400
    for _ in range(9):
        assert server.infer(*["日本語 " * 40] * 250).status_code == 200
    index = values(server, "slipway_drift_index", by="feature")
    assert values(server, "slipway_drift_texts") == {"messages": 2000.0}
    assert index["length"] > 0.2
    assert index["unknown"] > 0.2
    assert index["label"] > 0.2


def test_questions_of_a_rollout_are_no_drift_and_those_of_others_are(
    start: Start, referenced: Path, tmp_path: Path
) -> None:
    file, port = tmp_path / "api-keys.json", free_port()
    _, client = api_keys.add(file, "shop", [Scope.PREDICT])
    _, rollout = api_keys.add(file, "rollout", [Scope.PREDICT, Scope.ROLLOUT])
    server = start(referenced, "--allow_unsigned", "--api_keys", file, "--metrics_port", str(port)).wait_ready()
    page = replace(server, http_port=port)
    for key, taken in ((rollout, 0.0), (client, 200.0)):
        headers = {"x-slipway-source": "comparison", "x-api-key": key}
        httpx.post(f"{server.model_url}/infer", json=question(["日本語 " * 40] * 200), headers=headers)
        assert values(page, "slipway_drift_texts") == {"messages": taken}


def test_processes_that_share_a_folder_answer_for_each_other(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir()
    servers = [start(signed_bundle, "--public_key", keys.public_key) for _ in range(2)]
    for server in servers:
        server.wait_ready()
    for server in (servers[0], *servers):
        assert server.infer("late parcel").status_code == 200
    for server in servers:
        assert values(server, "slipway_requests_total", by="code") == {"200": 3.0}
        assert values(server, "slipway_model_ready") == {"messages": 1.0}
        assert values(server, "slipway_requests_in_flight", by="protocol")["rest"] == 0.0
