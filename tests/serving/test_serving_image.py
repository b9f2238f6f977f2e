"""The image of model servers has what a server needs: one that can import nothing else does everything."""

import base64
import json
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.bundle import DRAFT_FILES
from slipway.components.artifacts.encryption import KeyFile, encrypt
from slipway.components.artifacts.signing import KeyPair, sign
from tests.conftest import free_port
from tests.serving.conftest import Start
from tests.serving.serve_in_image import ROOT, OnlyOfTheImage, components_of_the_image

PROGRAM = Path(__file__).with_name("serve_in_image.py")
IMPORT_ALL = """
import importlib, pkgutil, sys
import boto3
from tests.serving.serve_in_image import OnlyOfTheImage

sys.meta_path.insert(0, OnlyOfTheImage())
from slipway import serving

for service in ("s3", "sts", "kms"):
    boto3.client(service, region_name="us-east-1")
for module in pkgutil.walk_packages(serving.__path__, "slipway.serving."):
    importlib.import_module(module.name)
"""


def test_a_server_does_all_its_work_with_what_is_in_its_image(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    bundle, audit, key, metrics_port = tmp_path / "bundle", tmp_path / "audit", tmp_path / "key", free_port()
    shutil.copytree(signed_bundle, bundle)
    key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    encrypt(bundle, DRAFT_FILES, KeyFile(key))
    sign(bundle, keys.private_key)
    options = ("--audit", audit, "--decryption_key", key, "--metrics_port", str(metrics_port), "--drain_seconds", "0")
    server = start(bundle, "--public_key", keys.public_key, *options, program=(str(PROGRAM),)).wait_ready()
    assert server.infer("late parcel").status_code == 200
    explained = httpx.post(f"{server.url}/v1/models/messages:explain", json={"instances": ["late parcel"]})
    assert explained.json()["explanations"][0]["label"] == "delivery"
    with grpc.insecure_channel(server.grpc) as channel:
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}
        services.GRPCInferenceServiceStub(channel).ModelInfer(
            messages.ModelInferRequest(model_name="messages", inputs=[given])
        )
    metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    assert "slipway_drift_texts" in metrics
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert list(audit.glob("*.jsonl"))
    assert set(json.loads(server.log().splitlines()[-1])) == components_of_the_image()


def test_every_module_of_the_server_imports_in_its_image() -> None:
    """Those for options that the server above is not given, too: tokens, certificates, keys in KMS."""
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["torch", "kfp", "mlflow", "transformers", "pyarrow", "onnx", "slipway.components.platforms.model_registry"]
)
def test_what_the_image_lacks_is_refused_here(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        OnlyOfTheImage().find_spec(name, None)
