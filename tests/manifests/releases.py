"""A server with the files of releases, in place of GitHub."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Releases:
    """Serves a file under every address; `changed` says what some addresses have in place of it.

    Args:
        address: of the server.
        sums: where install.sh keeps sums.
    """

    def __init__(self, address: str, sums: Path) -> None:
        self.sums = sums
        self.changed: dict[str, bytes] = {}
        self.environment = {"HOME": "/nowhere", "SLIPWAY_MIRROR": address, "SLIPWAY_SUMS": str(sums)}

    def content(self, path: str) -> bytes | None:
        """What the server has there; None for nothing."""
        return self.changed.get(path.rpartition("/")[2], f"# {path}\n".encode()) or None


@contextmanager
def serving(sums: Path) -> Iterator[Releases]:
    """A server at work."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = releases.content(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        releases = Releases(f"http://127.0.0.1:{server.server_port}", sums)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield releases
        server.shutdown()
