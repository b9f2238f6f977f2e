"""What the small hubs of the tests have in common: how they answer, and how a program is led to one."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class HubHandler(BaseHTTPRequestHandler):
    """Answers as a model hub does; which files there are is said by the `respond` of a subclass."""

    def respond(self) -> None:
        """Answer a GET or HEAD."""
        raise NotImplementedError

    def do_GET(self) -> None:  # noqa: N802
        self.respond()

    def do_HEAD(self) -> None:  # noqa: N802
        self.respond()

    def answer(self, body: bytes, commit: str, error: str = "") -> None:
        """A file of a commit, or the hub's name for an error."""
        self.send_response(404 if error else 200)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def at_work(server: ThreadingHTTPServer) -> Iterator[str]:
    """The address of a hub that answers."""
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(code: str, endpoint: str, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose hub is here, with nothing in its cache; the client reads both when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home)} | variables
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
