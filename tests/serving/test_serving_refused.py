"""Encrypted bundles are served to the holder of the key; a refused bundle is not served, and the reason can be read."""

import base64
import os
import shutil
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.bundle import DRAFT_FILES, Bundle, updated_info, write_info
from slipway.components.artifacts.encryption import VARIABLE, KeyFile, encrypt, key_of
from slipway.components.artifacts.signing import KeyPair, Wanted, sign
from slipway.serving.limits import Limits
from slipway.serving.model.loading import load_model, verified
from tests.serving.conftest import Server, Start

TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def key_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(base64.b64encode(os.urandom(32)))
    return path


@pytest.fixture
def encrypted(draft_bundle: Path, keys: KeyPair, tmp_path: Path) -> Path:
    folder = shutil.copytree(draft_bundle, tmp_path / "encrypted")
    encrypt(folder, DRAFT_FILES, KeyFile(key_file(tmp_path, "key")))
    sign(folder, keys.private_key)
    return folder


@pytest.fixture
def altered(signed_bundle: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(signed_bundle, tmp_path / "altered")
    (folder / "model.onnx").write_bytes(b"another model")
    return folder


def last_line(server: Server) -> str:
    server.process.wait(60)
    return server.log().strip().splitlines()[-1]


def test_an_encrypted_bundle_is_served_with_its_key(
    start: Start, encrypted: Path, keys: KeyPair, tmp_path: Path
) -> None:
    server = start(encrypted, "--public_key", keys.public_key, "--decryption_key", tmp_path / "key").wait_ready()
    assert server.infer("late parcel").json()["outputs"][0]["data"] == ["delivery"]
    assert sorted(path.name for path in encrypted.iterdir() if not path.name.endswith(".enc")) == [
        "encryption.json",
        "signature.json",
    ]


def test_an_encrypted_bundle_is_refused_without_its_key(
    start: Start, encrypted: Path, keys: KeyPair, tmp_path: Path
) -> None:
    none = start(encrypted, "--public_key", keys.public_key)
    other = start(encrypted, "--public_key", keys.public_key, "--decryption_key", key_file(tmp_path, "other"))
    assert last_line(none).startswith("BundleRefused: ")
    assert "no key was given" in last_line(none)
    assert last_line(other).startswith("BundleRefused: ")
    assert "the given one is" in last_line(other)
    assert (none.process.returncode, other.process.returncode) == (3, 3)


@pytest.mark.parametrize("form", ["signed_bundle", "encrypted"])
def test_files_that_are_exchanged_after_they_were_verified_are_not_loaded(
    form: str, request: pytest.FixtureRequest, keys: KeyPair, tmp_path: Path
) -> None:
    folder = shutil.copytree(request.getfixturevalue(form), tmp_path / "bundle")
    key = key_of(str(tmp_path / "key")) if form == "encrypted" else None
    digest = Bundle(folder, key).digest()
    found = verified(folder, keys.public_key, Wanted("messages", digest), key)
    for path in folder.iterdir():
        path.write_bytes(b"another")
    model = load_model("messages", "", found, 1, Limits())
    assert (model.digest, model.labels) == (digest, ["billing", "delivery", "account"])


@pytest.mark.parametrize("form", ["signed_bundle", "encrypted"])
def test_an_older_signed_bundle_is_refused_in_the_place_of_a_newer_one(
    form: str, request: pytest.FixtureRequest, start: Start, keys: KeyPair, tmp_path: Path
) -> None:
    older, newer = request.getfixturevalue(form), f"sha256:{'1' * 64}"
    key = ("--decryption_key", tmp_path / "key") if form == "encrypted" else ()
    server = start(older, "--public_key", keys.public_key, *key, "--model_version", "7", "--model_digest", newer)
    assert last_line(server) == f"BundleRefused: {older} is the bundle {Bundle(older).digest()}; asked for was {newer}"
    assert server.process.returncode == 3


@pytest.mark.parametrize("form", ["signed_bundle", "encrypted"])
def test_a_bundle_that_was_signed_as_another_model_is_refused(
    form: str, start: Start, draft_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    folder = shutil.copytree(draft_bundle, tmp_path / "other")
    write_info(folder, updated_info(Bundle(folder).info, model_name="complaints"))
    key: tuple[str | Path, ...] = ()
    if form == "encrypted":
        encrypt(folder, DRAFT_FILES, KeyFile(key_file(tmp_path, "key")))
        key = ("--decryption_key", tmp_path / "key")
    sign(folder, keys.private_key)
    server = start(folder, "--public_key", keys.public_key, *key, "--model_version", "7")
    assert last_line(server).endswith("is a bundle of the model 'complaints'; asked for was 'messages'")
    assert server.process.returncode == 3


def test_the_bundle_that_is_asked_for_is_served(start: Start, encrypted: Path, keys: KeyPair, tmp_path: Path) -> None:
    options = ("--decryption_key", tmp_path / "key", "--model_digest", Bundle(encrypted).digest())
    server = start(encrypted, "--public_key", keys.public_key, *options).wait_ready()
    assert server.infer("late parcel").json()["parameters"]["bundle_digest"] == Bundle(encrypted).digest()


def test_a_key_that_is_none_is_a_wrong_argument(start: Start, encrypted: Path, keys: KeyPair, tmp_path: Path) -> None:
    server = start(encrypted, "--public_key", keys.public_key, "--decryption_key", tmp_path / "nowhere")
    assert last_line(server).startswith("BadInput: ")
    assert server.process.returncode == 2


def test_a_refused_bundle_can_tell_its_reason_to_whoever_asks_for_readiness(
    start: Start, altered: Path, keys: KeyPair
) -> None:
    server = start(altered, "--public_key", keys.public_key, "--on_refused", "serve_reason")
    wait_live(server)
    ready = httpx.get(f"{server.model_url}/ready")
    reason = "BundleRefused: the bundle is not what was signed: model.onnx was altered"
    for path in ("v2/models/messages/ready", "v2/health/ready", "v1/models/messages"):
        answer = httpx.get(f"{server.url}/{path}")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert reason in answer.json()["error"]
        assert str(altered) not in answer.text
    assert ready.headers["retry-after"]
    assert server.infer("late parcel").status_code == 503
    assert reason in server.infer("late parcel").json()["error"]
    explained = httpx.post(f"{server.url}/v1/models/messages:explain", json={"instances": ["late parcel"]})
    assert explained.status_code == 503
    (listed,) = httpx.post(f"{server.url}/v2/repository/index").json()
    assert (listed["state"], listed["reason"]) == ("UNAVAILABLE", reason)
    assert httpx.get(f"{server.url}/openapi.json").status_code == 200
    assert server.process.poll() is None


def test_a_refused_bundle_can_tell_its_reason_over_grpc(start: Start, altered: Path, keys: KeyPair) -> None:
    server = start(altered, "--public_key", keys.public_key, "--on_refused", "serve_reason")
    wait_live(server)
    with grpc.insecure_channel(server.grpc) as channel:
        stub, health = services.GRPCInferenceServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        assert stub.ServerLive(messages.ServerLiveRequest()).live
        assert not stub.ServerReady(messages.ServerReadyRequest()).ready
        assert not stub.ModelReady(messages.ModelReadyRequest(name="messages")).ready
        status = health.Check(health_pb2.HealthCheckRequest()).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(messages.ModelInferRequest(model_name="messages", inputs=[TENSOR]))
    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "model.onnx was altered" in failure.value.details()


def wait_live(server: Server) -> None:
    """Until REST answers, which begins after gRPC."""
    transport = httpx.HTTPTransport(retries=8)  # waits 0, 0.5, 1, 2, … seconds in between
    with httpx.Client(transport=transport, timeout=30) as client:
        assert client.get(f"{server.url}/v2/health/live").json() == {"live": True}
