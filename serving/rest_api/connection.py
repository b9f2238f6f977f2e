"""The connections of REST, with limits against slow and idle clients on top of uvicorn's protocol for HTTP/1.1.

uvicorn has no limit on the time or size of a request's head, on the number of connections, or on the time that a client
takes to read a response. `slipway.serving.rest_api.connection_pool` decides which connections make room for new ones.
"""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from slipway.serving.access.tls import certificate_name
from slipway.serving.errors import client_message
from slipway.serving.limits import Limits
from slipway.serving.rest_api.access import CERTIFICATE, KNOWN
from slipway.serving.rest_api.connection_pool import ConnectionPool, Standing
from slipway.serving.rest_api.framing import BadFraming, check_framing
from slipway.serving.rest_api.upgrades import PlainParser

logger = logging.getLogger("serving")
HEAD_LIMIT = 64 * 1024
"""Most bytes of the head of a request."""
FRAMING_SLACK = 1 << 20
"""Most bytes of one request that do not belong to its body: head, framing of chunks, trailers."""
PIPELINED = 32
"""Most requests that may wait on one connection behind the one that is being answered."""


class _Joining:
    """A transport that sends the head of a response together with its body, which saves a system call and a packet.

    uvicorn writes them separately. uvloop sends what was written at the end of the turn of the event loop, unless more
    is buffered than the high-water mark allows. So the mark is high after a head and low after anything else.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes. A head alone is sent at the end of the event loop's turn."""
        if self._transport.is_closing():
            return  # asyncio ignores writes to a closing transport, but uvloop raises
        head = data.startswith(b"HTTP/1.1 ")
        if head:
            self._transport.set_write_buffer_limits(high=HEAD_LIMIT)
        self._transport.write(data)
        if not head and not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high=1, low=0)

    def close(self) -> None:
        """Close once everything is sent. The low mark makes the transport pause, so the timer for slow readers runs."""
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(high=1, low=0)
        self._transport.close()


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        limits: times and sizes.
        pool: all connections of the server.
        uvicorn: arguments of uvicorn's protocol.
    """

    def __init__(self, limits: Limits, pool: ConnectionPool, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._plain = PlainParser(self)
        self.parser = self._plain  # type: ignore[assignment]  # it has all that uvicorn uses
        self._limits, self._pool = limits, pool
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._received = 0
        """Bytes that have arrived of the current request."""
        self._framing = 0
        """Those of them that do not belong to its body."""
        self._in_head = True
        self._certificate: str | None = None
        self._caller_known = False
        self._bad_framing: BadFraming | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Called when a client has connected and the TLS handshake, if any, is done."""
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]  # it has all that uvicorn uses
        # With these limits `pause_writing` is called as soon as the client does not read, and `resume_writing` once it
        # has read everything.
        transport.set_write_buffer_limits(high=1, low=0)
        tls = transport.get_extra_info("ssl_object")
        self._certificate = certificate_name(tls.getpeercert()) if tls else None
        self._pool.enter(self)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is closed."""
        self._pool.leave(self)
        for timer in (self._head_timer, self._send_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called with bytes of one or several requests."""
        self._await_head()
        self._received += len(data)
        self._framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._framing > FRAMING_SLACK and self.cycle is not None and self.cycle.response_started:
            self.transport.abort()  # endless trailers, for example; the response has begun, so no error can be sent
            return
        if self._head_timer and self._received > HEAD_LIMIT:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {HEAD_LIMIT} bytes")
        elif self._received > self._limits.body + FRAMING_SLACK and not self.cycle.response_started:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the framing of the body is larger than the body may be")

    def on_message_begin(self) -> None:
        """Called at the first byte of a request."""
        self._in_head = True
        super().on_message_begin()
        if self._certificate:
            self.scope["state"][CERTIFICATE] = self._certificate
        if not self._caller_known:
            self.scope["state"][KNOWN] = self._mark_known

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for each header field. Trailer fields are ignored (RFC 9110, section 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called when the head of a request has arrived.

        Raises:
            ValueError: the head is not accepted. The parser then calls `send_400_response`.
        """
        self._in_head = False
        if len(self.pipeline) >= PIPELINED:
            raise ValueError(f"more than {PIPELINED} requests wait on one connection")
        try:
            check_framing(self.headers, self.parser.get_http_version())
        except BadFraming as error:
            self._bad_framing = error
            raise
        self._head_arrived()
        if not self._at_hand():
            self._wait_for_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called with a part of a body."""
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        if self._plain.ends_early():
            return
        self._received = self._framing = 0
        self._pool.work(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when a request is answered."""
        answered_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if answered_last:
            self._received = 0
            self._pool.wait(self, Standing.IDLE if self._caller_known else Standing.STRANGER)
        elif self.cycle.more_body and not self.pipeline:
            # The next request is being answered already, but its body has not arrived as a whole. Only the last request
            # of a pipeline can be incomplete.
            self._wait_for_body()

    def pause_writing(self) -> None:
        """Called when the client does not read what was sent."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(self._limits.send_seconds, self._send_timed_out)
        if self._at_hand():
            self._pool.wait(self, Standing.LEAVING)

    def resume_writing(self) -> None:
        """Called when the client has read what was sent."""
        super().resume_writing()
        if self._send_timer:
            self._send_timer.cancel()
            self._send_timer = None
        if self._pool.standing(self) is Standing.LEAVING:
            self._pool.work(self)

    def drop(self) -> None:
        """Close the connection at once, to make room."""
        self.transport.abort()  # `close` would wait until the client has read everything, and for the end of TLS

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP, or a head that was not accepted; called by uvicorn."""
        error = self._bad_framing or BadFraming(HTTPStatus.BAD_REQUEST, msg)
        self._refuse(error.status, client_message(error))

    def _mark_known(self) -> None:
        """Note that a caller on this connection has passed the access checks."""
        self._caller_known = True
        if self._pool.standing(self) is Standing.STRANGER:
            self._pool.wait(self, Standing.ARRIVING)

    def _wait_for_body(self) -> None:
        self._pool.wait(self, Standing.ARRIVING if self._caller_known else Standing.STRANGER)

    def _at_hand(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        """Start the timer for the head of a request, unless it runs or a request is at hand."""
        if self._head_timer is None and not self._at_hand():
            self._head_timer = self.loop.call_later(self._limits.header_seconds, self._head_timed_out)

    def _head_arrived(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        """Called when no head of a request has arrived in time."""
        if self._received:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the head of the request did not arrive in time")
        else:
            self.drop()

    def _send_timed_out(self) -> None:
        logger.warning("event=slow_reader the connection is ended")
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Send an error and close the connection; the application does not see the request."""
        logger.warning("event=refused status=%d reason=%r", status, reason)
        body = json.dumps({"error": reason}).encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()
