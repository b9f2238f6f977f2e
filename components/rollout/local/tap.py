"""Where the proxy sends copies of live requests: a listener that keeps their texts until somebody asks for them.

It listens on a Unix socket in a folder that only this user can enter, so that nobody else on the machine ever gets a
client's text, not even when this process was killed and the proxy goes on copying. Headers are thrown away.
"""

import contextlib
import json
import shutil
import tempfile
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

KEPT = 100
"""Texts at most; older ones go."""
LONGEST_BODY = 1_000_000
"""Bytes; what is longer is not looked at."""


class Tap:
    """Listens from its making until `close`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-"))  # short: socket names may have 107 characters
        self.path = self._folder / "tap"
        self._texts: deque[str] = deque(maxlen=KEPT)
        self._server = _Server(str(self.path), _handler(self._texts))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self) -> list[str]:
        """The texts that came since the last call, in their order."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._texts.popleft())
        return found

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    block_on_close = False


def _handler(texts: deque[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 (the name that http.server asks for)
            length = int(self.headers.get("content-length") or 0)
            if 0 < length <= LONGEST_BODY:
                texts.extend(texts_of(self.rfile.read(length)))
            else:
                self.close_connection = True
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: what clients ask is nobody's business."""

    return Handler


def texts_of(body: bytes) -> list[str]:
    """The texts in the JSON body of a prediction request (V2, or V1); none where there are none to be found."""
    try:
        asked = json.loads(body)
        if "instances" in asked:
            found = asked["instances"]
        else:
            found = [text for tensor in asked["inputs"] if tensor["name"] == "text" for text in tensor["data"]]
    except (ValueError, LookupError, TypeError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
