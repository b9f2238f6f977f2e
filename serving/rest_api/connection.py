"""Connections of REST that cannot be held open for nothing, on top of uvicorn's protocol for HTTP/1.1.

uvicorn by itself has no limit on the time or size of a request's head, on the number of connections, or on the time
that a client takes to read an answer. `slipway.serving.rest_api.connection_pool` says which connections make room for
new ones.
"""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from slipway.serving.access.tls import certificate_name
from slipway.serving.errors import told
from slipway.serving.limits import Limits
from slipway.serving.rest_api.access import CERTIFICATE, KNOWN
from slipway.serving.rest_api.connection_pool import ConnectionPool, Standing
from slipway.serving.rest_api.framing import BadFraming, check_framing

logger = logging.getLogger("serving")
HEAD_LIMIT = 64 * 1024
"""Bytes of the head of a request."""
FRAMING_SLACK = 1 << 20
"""Bytes on the wire of one request that are no body: head, framing of chunks, trailers."""
PIPELINED = 32
"""Requests that may wait on one connection behind the one that is being answered."""


class _Joining:
    """A transport that sends the head of an answer together with its body: one system call less, one packet less."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send; a head at the end of the loop's turn, if nothing follows it before."""
        if self._transport.is_closing():
            return  # as asyncio does; uvloop would raise
        head = data.startswith(b"HTTP/1.1 ")
        if head:
            self._transport.set_write_buffer_limits(high=HEAD_LIMIT)
        self._transport.write(data)
        if not head and not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high=1, low=0)

    def close(self) -> None:
        """Close, once all was sent; a client that does not read it is noticed from here on, whatever was sent last."""
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high=1, low=0)
        self._transport.close()


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        limits: times and sizes.
        crowd: of all connections of the server.
        uvicorn: what uvicorn gives to its protocols.
    """

    def __init__(self, limits: Limits, crowd: ConnectionPool, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits, self._crowd = limits, crowd
        self._arriving: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._received = 0
        """Bytes of the request that arrives."""
        self._framing = 0
        """Of them, those that are no body."""
        self._in_head = True
        self._certificate: str | None = None
        self._caller_known = False
        self._bad_framing: BadFraming | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has come, and TLS is done."""
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]  # it has all that uvicorn uses
        transport.set_write_buffer_limits(high=1, low=0)  # so that we hear when all was read, and when not
        tls = transport.get_extra_info("ssl_object")
        self._certificate = certificate_name(tls.getpeercert()) if tls else None
        self._crowd.enter(self)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._crowd.leave(self)
        for timer in (self._arriving, self._leaving):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of several."""
        self._expect()
        self._received += len(data)
        self._framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._framing > FRAMING_SLACK and self.cycle is not None and self.cycle.response_started:
            self.transport.abort()  # trailers without end, say; there is no place for another answer
            return
        if self._arriving and self._received > HEAD_LIMIT:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {HEAD_LIMIT} bytes")
        elif self._received > self._limits.body + FRAMING_SLACK and not self.cycle.response_started:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the framing of the body is larger than the body may be")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = True
        super().on_message_begin()
        if self._certificate:
            self.scope["state"][CERTIFICATE] = self._certificate
        if not self._caller_known:
            self.scope["state"][KNOWN] = self._known

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Those behind a chunked body are not taken for such (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head of a request is there.

        Raises:
            ValueError: it is not accepted; the parser ends the connection.
        """
        self._in_head = False
        if len(self.pipeline) >= PIPELINED:
            raise ValueError(f"more than {PIPELINED} requests wait on one connection")
        try:
            check_framing(self.headers, self.parser.get_http_version(), self.parser.should_upgrade())
        except BadFraming as error:
            self._bad_framing = error
            raise
        self._arrived()
        if not self._at_hand():
            self._wait_for_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._received = self._framing = 0
        self._crowd.work(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        answered_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if answered_last:
            self._received = 0
            self._crowd.wait(self, Standing.IDLE if self._caller_known else Standing.STRANGER)
        elif self.cycle.more_body and not self.pipeline:  # the next one has begun, and only the last can lack its end
            self._wait_for_body()

    def pause_writing(self) -> None:
        """The client has not read what was sent."""
        super().pause_writing()
        self._leaving = self.loop.call_later(self._limits.send_seconds, self._give_up)
        if self._at_hand():
            self._crowd.wait(self, Standing.LEAVING)

    def resume_writing(self) -> None:
        """Now it has."""
        super().resume_writing()
        if self._leaving:
            self._leaving.cancel()
            self._leaving = None
        if self._crowd.standing(self) is Standing.LEAVING:
            self._crowd.work(self)

    def drop(self) -> None:
        """Make room."""
        self.transport.abort()  # to close would wait for what the client does not read, or for the end of TLS

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or not what the server takes."""
        error = self._bad_framing or BadFraming(HTTPStatus.BAD_REQUEST, msg)
        self._refuse(error.status, told(error))

    def _known(self) -> None:
        """The request at hand is of a caller who may call."""
        self._caller_known = True
        if self._crowd.standing(self) is Standing.STRANGER:
            self._crowd.wait(self, Standing.ARRIVING)

    def _wait_for_body(self) -> None:
        self._crowd.wait(self, Standing.ARRIVING if self._caller_known else Standing.STRANGER)

    def _at_hand(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self) -> None:
        """Begin to wait for the head of a request, unless one is at hand or waited for."""
        if self._arriving is None and not self._at_hand():
            self._arriving = self.loop.call_later(self._limits.header_seconds, self._late)

    def _arrived(self) -> None:
        if self._arriving:
            self._arriving.cancel()
            self._arriving = None

    def _late(self) -> None:
        """No head of a request in time."""
        if self._received:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the head of the request did not arrive in time")
        else:
            self.drop()

    def _give_up(self) -> None:
        logger.warning("event=slow_reader the connection is ended")
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """End the connection with an answer that no application has seen."""
        logger.warning("event=refused status=%d reason=%r", status, reason)
        body = json.dumps({"error": reason}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()
