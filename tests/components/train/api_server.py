"""A server that answers as the Kubernetes API does, for what a real cluster rarely says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


class ApiServer:
    """Answers a method and the end of a path with a status and a body, all else with 404; keeps the requests."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self.requests: list[str] = []
        self.address = ""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """The answer to a request."""
        self.requests.append(f"{method} {path}")
        place = path.partition("?")[0]
        for (asked, end), answer in self.answers.items():
            if asked == method and place.endswith(end):
                return answer
        return 404, {"message": "not found"}


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """A server at work."""
    api = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            status, body = api.answer(self.command, self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.address = f"http://127.0.0.1:{server.server_port}"
    yield api
    server.shutdown()
    server.server_close()


def use(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a server the cluster of this process."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (folder / "kubeconfig").write_text(json.dumps(content))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
