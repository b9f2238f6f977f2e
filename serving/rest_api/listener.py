"""Accepts the connections of REST, and counts each from accept on, so before its TLS handshake."""

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import uvicorn
from uvicorn.server import ServerState

from slipway.serving.limits import Limits
from slipway.serving.rest_api.connection import Connection
from slipway.serving.rest_api.connection_pool import ConnectionPool

logger = logging.getLogger("serving")
NOT_ACCEPTED_S = 0.05
"""Pause after a connection could not be accepted. With too many open files, accept would fail in a busy loop."""


class Listening(Protocol):
    """The part of `asyncio.Server` that uvicorn uses to stop listening."""

    def close(self) -> None:
        """Accept no more connections."""

    async def wait_closed(self) -> None:
        """Wait until the listener has stopped."""


async def listen(
    listener: socket.socket, config: uvicorn.Config, state: ServerState, lifespan: Any, limits: Limits
) -> Listening:
    """Accept connections on a bound socket.

    Args:
        listener: the socket.
        config: uvicorn's configuration.
        state: uvicorn's state of its server.
        lifespan: uvicorn's lifespan of the application.
        limits: times and sizes.
    """
    pool = ConnectionPool(limits.connections)

    def connect() -> Connection:
        return Connection(limits, pool, config=config, server_state=state, app_state=lifespan.state)

    if config.ssl:
        listener.listen(config.backlog)
        return _TlsListening(listener, connect, config.ssl, pool, limits.header_seconds)
    return await asyncio.get_running_loop().create_server(connect, sock=listener, backlog=config.backlog)


def descriptors() -> int:
    """Raise the soft limit of open files and sockets to the hard limit, and return it."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    return hard_limit


class _TlsListening:
    """Accepts connections and does their TLS handshakes.

    asyncio's own server reports a connection only after its handshake. Connections in a handshake would not be counted.

    Args:
        listener: a listening socket.
        connect: makes the protocol of a connection whose handshake is done.
        context: TLS context.
        pool: all connections of the server.
        seconds: time limit of a handshake.
    """

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], Connection],
        context: ssl.SSLContext,
        pool: ConnectionPool,
        seconds: float,
    ) -> None:
        self._listener, self._connect, self._context = listener, connect, context
        self._pool, self._seconds = pool, seconds
        self._handshakes: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Accept no more connections, and cancel the handshakes that are not done."""
        for task in (self._accepting, *self._handshakes):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until all tasks have ended."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # the client has gone, or there are too many open files
                logger.warning("event=not_accepted error=%s", type(error).__name__)
                await asyncio.sleep(NOT_ACCEPTED_S)
                continue
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = _Handshake(accepted)
            self._pool.enter(handshake)
            task = loop.create_task(self._do_handshake(handshake))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _do_handshake(self, handshake: "_Handshake") -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connect,  # the connection enters the pool by itself, so for a moment it is counted twice
                handshake.socket,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
            )
        except (OSError, ssl.SSLError) as error:
            logger.warning("event=refused_handshake error=%s", type(error).__name__)
        finally:
            self._pool.leave(handshake)


class _Handshake:
    """A connection whose TLS handshake is not done; a member of the pool."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted

    def drop(self) -> None:
        """Shut the socket down, to make room. The handshake then fails as if the client had closed the connection."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
