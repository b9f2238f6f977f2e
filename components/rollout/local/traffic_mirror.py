"""Receives the proxy's copies of live requests, and keeps their texts until the local target takes them.

Copies arrive over HTTP/1.1. The proxy converts gRPC calls too: a call is one framed message in the body.

The listener is a Unix socket in a folder that only this user can enter. So no other user of the machine gets a client's
text, even when this process was killed and the proxy continues to copy. Headers are not kept.

The proxy copies requests before a server has checked their keys. The tap therefore keeps only the texts of requests
that `admits` accepts, since requests that a server refuses are no evidence.
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
"""Most texts that are kept; older ones are dropped."""
LONGEST_BODY = 1_000_000
"""Most bytes of a body; longer bodies are ignored."""
FRAME = struct.Struct(">BI")
"""Header of a gRPC message: whether it is compressed, and its length."""


class Tap:
    """A listener for copies of requests, from its creation until `close`.

    Args:
        admits: returns whether the model servers accept a request with these headers (names in lower case).
    """

    def __init__(self, admits: Callable[[Mapping[str, str]], bool] = lambda _: True) -> None:
        # A short path: the path of a socket has at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-"))
        self.path = self._folder / "tap"
        self._texts: deque[str] = deque(maxlen=KEPT)
        self._server = _Server(str(self.path), _handler(self._texts, admits))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self) -> list[str]:
        """The texts received since the last call, in order of arrival."""
        texts = []
        with contextlib.suppress(IndexError):  # raised when the deque is empty; other threads append meanwhile
            while True:
                texts.append(self._texts.popleft())
        return texts

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
            """The body, with a length or in chunks (RFC 9112, 7.1); empty when it is too long."""
            if self.headers.get("transfer-encoding") != "chunked":
                length = int(self.headers.get("content-length") or 0)
                return self.rfile.read(length) if length <= LONGEST_BODY else b""
            body = b""
            while length := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
                if len(body) + length > LONGEST_BODY:
                    return b""
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing, since requests of clients are private."""

    return Handler


def texts_of(body: bytes) -> list[str]:
    """The texts in the JSON body of a prediction request (V2 or V1); empty when the body cannot be read."""
    try:
        request = json.loads(body)
        if "instances" in request:
            texts = request["instances"]
        else:
            texts = [text for tensor in request["inputs"] if tensor["name"] == TEXT for text in tensor["data"]]
    except (ValueError, LookupError, TypeError):
        return []
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def texts_of_call(body: bytes) -> list[str]:
    """The texts in a gRPC call of ModelInfer; empty when the call is compressed or cannot be read."""
    messages, _ = v2_messages()
    try:
        compressed, length = FRAME.unpack_from(body)
        request = messages.ModelInferRequest.FromString(body[FRAME.size : FRAME.size + length])
        (position,) = [number for number, tensor in enumerate(request.inputs) if tensor.name == TEXT]
        raw, tensor = request.raw_input_contents, request.inputs[position]
        elements = bytes_elements(raw[position], math.prod(tensor.shape)) if raw else tensor.contents.bytes_contents
        return [] if compressed else [element.decode("utf-8") for element in elements]
    except (ValueError, LookupError, struct.error, DecodeError):
        return []
