"""Where the proxy sends copies of live requests: a listener that keeps their texts until somebody asks for them.

Copies come over HTTP/1.1, those of gRPC calls too: the proxy translates, and a call is one framed message in the body.

It listens on a Unix socket in a folder that only this user can enter, so that nobody else on the machine ever gets a
client's text, not even when this process was killed and the proxy goes on copying. Headers are thrown away. The proxy
copies what anybody sends, before a server has looked at it, so the tap keeps only the texts of those whom it is told
to: texts of strangers are no evidence.
"""

import contextlib
import json
import math
import shutil
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from google.protobuf.message import DecodeError

from slipway.components.clients.grpc_client import v2_messages
from slipway.components.clients.v2_protocol import TEXT, bytes_elements

KEPT = 100
"""Texts at most; older ones go."""
LONGEST_BODY = 1_000_000
"""Bytes; what is longer is not looked at."""
FRAME = struct.Struct(">BI")
"""Before a message of gRPC: whether it is compressed, and its length."""


class Tap:
    """Listens from its making until `close`.

    Args:
        admits: whether the sender of a request with these headers (names in lower case) may ask for predictions.
    """

    def __init__(self, admits: Callable[[Mapping[str, str]], bool] = lambda _: True) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-"))  # short: socket names may have 107 characters
        self.path = self._folder / "tap"
        self._texts: deque[str] = deque(maxlen=KEPT)
        self._server = _Server(str(self.path), _handler(self._texts, admits))
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


def _handler(texts: deque[str], admits: Callable[[Mapping[str, str]], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 (the name that http.server asks for)
            body = self._body()
            if not body:
                self.close_connection = True
            is_grpc = self.headers.get_content_type() == "application/grpc"
            if admits({name.lower(): value for name, value in self.headers.items()}):
                texts.extend(texts_of_call(body) if is_grpc else texts_of(body))
            self.send_response(204)
            self.end_headers()

        def _body(self) -> bytes:
            """With a length, or in chunks (RFC 9112, 7.1); nothing when it is too long."""
            if self.headers.get("transfer-encoding") != "chunked":
                length = int(self.headers.get("content-length") or 0)
                return self.rfile.read(length) if length <= LONGEST_BODY else b""
            found = b""
            while length := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
                if len(found) + length > LONGEST_BODY:
                    return b""
                found += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return found

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
            found = [text for tensor in asked["inputs"] if tensor["name"] == TEXT for text in tensor["data"]]
    except (ValueError, LookupError, TypeError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def texts_of_call(body: bytes) -> list[str]:
    """The texts in a gRPC call of ModelInfer; none where there are none to be found, or where they are compressed."""
    messages, _ = v2_messages()
    try:
        compressed, length = FRAME.unpack_from(body)
        request = messages.ModelInferRequest.FromString(body[FRAME.size : FRAME.size + length])
        (position,) = [number for number, tensor in enumerate(request.inputs) if tensor.name == TEXT]
        raw, tensor = request.raw_input_contents, request.inputs[position]
        found = bytes_elements(raw[position], math.prod(tensor.shape)) if raw else tensor.contents.bytes_contents
        return [] if compressed else [text.decode("utf-8") for text in found]
    except (ValueError, LookupError, struct.error, DecodeError):
        return []
