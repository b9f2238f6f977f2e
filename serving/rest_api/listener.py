"""Where the connections of REST come in: each is counted when it is accepted, before TLS if there is any."""

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
"""Until the next try after a connection could not be accepted."""


class Listening(Protocol):
    """What uvicorn ends, as `asyncio.Server`."""

    def close(self) -> None:
        """Take no more connections."""

    async def wait_closed(self) -> None:
        """Wait for the end."""


async def listen(
    listener: socket.socket, config: uvicorn.Config, state: ServerState, lifespan: Any, limits: Limits
) -> Listening:
    """Take connections on a socket that is bound.

    Args:
        listener: the socket.
        config: uvicorn's.
        state: uvicorn's, of its server.
        lifespan: uvicorn's, of the application.
        limits: times and sizes.
    """
    crowd = ConnectionPool(limits.connections)

    def connect() -> Connection:
        return Connection(limits, crowd, config=config, server_state=state, app_state=lifespan.state)

    if config.ssl:
        listener.listen(config.backlog)
        return _TlsListening(listener, connect, config.ssl, crowd, limits.header_seconds)
    return await asyncio.get_running_loop().create_server(connect, sock=listener, backlog=config.backlog)


def descriptors() -> int:
    """How many files and sockets the process may have open, once it has taken all that it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class _TlsListening:
    """Takes connections and does their handshakes; asyncio by itself tells of no connection before it has done that.

    Args:
        listener: a socket that listens.
        connect: makes what talks to the client once TLS is done.
        context: of TLS.
        crowd: of all connections of the server.
        seconds: that a handshake may take.
    """

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], Connection],
        context: ssl.SSLContext,
        crowd: ConnectionPool,
        seconds: float,
    ) -> None:
        self._listener, self._connect, self._context = listener, connect, context
        self._crowd, self._seconds = crowd, seconds
        self._shaking: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Take no more connections, and give up those whose handshakes are not done."""
        for task in (self._accepting, *self._shaking):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for the end."""
        await asyncio.gather(self._accepting, *self._shaking, return_exceptions=True)

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
            self._crowd.enter(handshake)
            task = loop.create_task(self._shake(handshake))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake(self, handshake: "_Handshake") -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connect,  # it enters the crowd by itself; for a moment the two are counted
                handshake.socket,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
            )
        except (OSError, ssl.SSLError) as error:
            logger.warning("event=refused_handshake error=%s", type(error).__name__)
        finally:
            self._crowd.leave(handshake)


class _Handshake:
    """A connection until TLS is done."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted

    def drop(self) -> None:
        """Make room; whoever does the handshake sees that the other side has closed."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
