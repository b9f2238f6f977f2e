"""What a model server does at its start: it serves a verified bundle, or ends with one line that says why not."""

import shutil
import socket
from pathlib import Path

import pytest

from slipway.components.artifacts.signing import KeyPair, key_pair
from tests.serving.conftest import Server, Start


def last_line(server: Server) -> str:
    """Its last words, once it has ended."""
    server.process.wait(30)
    return server.log().strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "bundle.json"])
def test_a_bundle_with_one_altered_byte_is_refused(
    name: str, start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    bundle = shutil.copytree(signed_bundle, tmp_path / "bundle")
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    server = start(bundle, "--public_key", keys.public_key)
    line = last_line(server)
    assert server.process.returncode == 3
    assert line.startswith("BundleRefused: ")
    assert f"{name} was altered" in line


def test_an_unsigned_bundle_is_refused(start: Start, draft_bundle: Path, keys: KeyPair) -> None:
    server = start(draft_bundle, "--public_key", keys.public_key)
    assert "BundleRefused: " in last_line(server)
    assert "unsigned" in last_line(server)
    assert server.process.returncode == 3


def test_a_bundle_of_another_signer_is_refused(start: Start, signed_bundle: Path, tmp_path: Path) -> None:
    server = start(signed_bundle, "--public_key", key_pair(tmp_path / "others").public_key)
    assert "BundleRefused: " in last_line(server)
    assert server.process.returncode == 3


def test_an_unsigned_bundle_is_served_only_by_an_explicit_switch_that_warns(moody: Server) -> None:
    assert moody.infer("hello").status_code == 200
    assert "WARNING serving event=unsigned_allowed" in moody.log()


def test_neither_key_nor_switch_is_an_error(start: Start, draft_bundle: Path) -> None:
    server = start(draft_bundle)
    assert "--public_key" in last_line(server)
    assert server.process.returncode == 2


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
def test_a_port_in_use_is_named(which: str, start: Start, signed_bundle: Path, keys: KeyPair) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {which: port}
        server = start(signed_bundle, "--public_key", keys.public_key, **ports)
        assert last_line(server).startswith(f"BadInput: port {port} is in use")
    assert server.process.returncode == 2


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one_line(
    start: Start, draft_bundle: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(draft_bundle, tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(b"not a model")
    server = start(bundle, "--allow_unsigned")
    assert last_line(server).startswith("LoadFailed: ")
    assert "Traceback" not in server.log()
    assert server.process.returncode == 1


def test_a_folder_without_a_bundle_is_bad_input(start: Start, tmp_path: Path) -> None:
    server = start(tmp_path / "nothing", "--allow_unsigned")
    assert last_line(server).startswith("BadInput: ")
    assert server.process.returncode == 2


def test_both_ports_are_bound_to_the_given_address_only(server: Server) -> None:
    for port in (server.http_port, server.grpc_port):
        socket.create_connection(("127.0.0.1", port), 2).close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), 2)
