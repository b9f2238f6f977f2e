"""Which place a target means, and what is told when the cluster is not there."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms import cluster_settings
from slipway.components.platforms.execution_target import meant, resolve


class Refusing(BaseHTTPRequestHandler):
    """An API server that knows nobody."""

    def do_GET(self) -> None:  # noqa: N802  # the base class names it
        content = json.dumps({"kind": "Status", "message": "Unauthorized", "code": 401}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def use_cluster(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server the cluster of KUBECONFIG."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "contexts": [{"name": "there", "context": {"cluster": "there", "user": "me"}}],
        "clusters": [{"name": "there", "cluster": {"server": address}}],
        "users": [{"name": "me", "user": {"token": "hidden"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))


def test_auto_is_kubernetes_for_what_runs_in_a_cluster_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_NAMESPACE", raising=False)
    assert cluster_settings.own_namespace() is None
    assert meant("auto") == "local"
    monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
    assert meant("auto") == "kubernetes"
    assert meant("local") == "local"


def test_a_cluster_that_is_away_is_told_with_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cluster(tmp_path, "http://127.0.0.1:1", monkeypatch)
    with pytest.raises(BadInput, match=r"http://127.0.0.1:1 cannot be reached .*KUBECONFIG"):
        resolve("kubernetes")


def test_refused_credentials_are_told_without_them(
    tmp_path: Path, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(tmp_path, refusing, monkeypatch)
    with pytest.raises(BadInput, match=r"answers 401 \(Unauthorized\)") as told:
        resolve("kubernetes")
    assert "hidden" not in str(told.value)


def test_without_any_cluster_the_advice_is_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(BadInput, match="set KUBECONFIG"):
        resolve("kubernetes")


def test_another_word_is_refused() -> None:
    with pytest.raises(BadInput, match="expected auto, local or kubernetes"):
        resolve("cloud")
