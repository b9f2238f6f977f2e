"""The open connections of gRPC: how many there may be, and which ones are closed to make room for new ones.

gRPC has a limit of its own, beyond which it accepts no connection. With that limit alone, unknown clients could keep
everybody else out by holding connections open, and gRPC has no function to close a single one. So this module has a
lower limit: it finds the connections as open sockets of the process at that port, and shuts down those that are too
many. The connections without any call by an accepted caller go first, the oldest of them first. A connection with such
a call at hand is never closed.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("serving")
CHECK_S = 0.1
"""Shortest time between two checks of the number of open files. A check takes microseconds while there are few."""
PAUSE = 20
"""Pause after a check, as a multiple of its duration, so that checks take at most a twentieth of the time."""
CROWD = 0.5
"""Share of the limit from which on the connections are listed at each check. The lists show the order in which they
came, so that new ones get the time for a first call."""
GROWING_PAUSE = 2
"""As `PAUSE`, while the number of files is above that share and grows: gRPC could reach its own limit before the next
check."""
DESCRIPTORS = Path("/dev/fd")
MAPPED = "::ffff:"
"""Prefix of an IPv4 address on a socket for both IPv4 and IPv6."""


@dataclass
class _Calls:
    """The calls of accepted callers on one connection."""

    at_hand: int = 0
    last: int = 0
    """The sequence number of the latest call; it orders the connections by their last use."""


class Connections:
    """Watches the connections of a port, and closes those that are too many.

    Args:
        port: port of gRPC.
        limit: most connections.
    """

    def __init__(self, port: int, limit: int) -> None:
        self._port, self._limit = port, limit
        self._calls: dict[str, _Calls] = {}
        """Calls by the address of the peer, as `ServicerContext.peer` writes it."""
        self._sequence = 0
        self._seen: dict[str, None] = {}
        """Peers that were connected at the last check, in the order in which they came."""
        self._peers: dict[tuple[int, int], str | None] = {}
        """Cache of the peer of each open file, since to find it is the slowest part of a check. The key is the
        descriptor and the inode: a descriptor alone is used again for another file as soon as it is closed."""
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def call(self, peer: str) -> Iterator[None]:
        """Count a call of an accepted caller on the connection of a peer, until the context ends."""
        calls = self._calls.get(peer)
        if calls is None:
            calls = self._calls[peer] = _Calls()
        self._sequence += 1
        calls.last = self._sequence
        calls.at_hand += 1
        try:
            yield
        finally:
            calls.at_hand -= 1

    def watch(self) -> None:
        """Start the checks; needs the running event loop."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        """Stop the checks."""
        if self._watching:
            self._watching.cancel()

    async def _watch(self) -> None:
        pause, before = CHECK_S, 0
        while True:
            await asyncio.sleep(pause)
            began = time.perf_counter()
            files = len(os.listdir(DESCRIPTORS))
            crowded = files > CROWD * self._limit
            if crowded or len(self._calls) > 2 * self._limit:  # `_calls` keeps closed connections until a check
                self._check()
            share = GROWING_PAUSE if crowded and files > before else PAUSE
            pause, before = max(CHECK_S, share * (time.perf_counter() - began)), files

    def _check(self) -> None:
        """Find the connections, and close those that are too many."""
        self._peers = dict(self._files())
        descriptors = {peer: descriptor for (descriptor, _), peer in self._peers.items() if peer}
        known = [peer for peer in self._seen if peer in descriptors]
        new = descriptors.keys() - known
        self._seen = dict.fromkeys([*known, *descriptors])
        self._calls = {peer: calls for peer, calls in self._calls.items() if peer in descriptors or calls.at_hand}
        too_many = len(descriptors) - self._limit
        if too_many > 0:
            # Connections that came since the last check are spared, since they may be about to make their first call.
            for peer in [peer for peer in self._least_needed() if peer not in new][:too_many]:
                self._end(peer, descriptors[peer])
            logger.warning("event=connections_ended port=%d open=%d", self._port, len(descriptors))

    def _least_needed(self) -> list[str]:
        """The connections that may be closed, in the order in which to close them."""
        strangers = [peer for peer in self._seen if peer not in self._calls]
        idle = [peer for peer, calls in self._calls.items() if not calls.at_hand and peer in self._seen]
        return strangers + sorted(idle, key=lambda peer: self._calls[peer].last)

    def _files(self) -> Iterator[tuple[tuple[int, int], str | None]]:
        """Descriptor and inode of each open file, and the peer if the file is a connection of the port."""
        for name in os.listdir(DESCRIPTORS):
            descriptor = int(name)
            with suppress(OSError):  # the file was closed meanwhile
                file = (descriptor, os.fstat(descriptor).st_ino)
                yield file, self._peers[file] if file in self._peers else self._peer_of(descriptor)

    def _peer_of(self, descriptor: int) -> str | None:
        with _duplicate(descriptor) as connection:
            return self._peer(connection) if connection else None
        return None  # the connection was closed meanwhile

    def _end(self, peer: str, descriptor: int) -> None:
        """Shut a connection down. To gRPC it looks as if the client had closed it."""
        with _duplicate(descriptor) as connection:
            if connection and self._peer(connection) == peer:  # the descriptor may belong to another file by now
                connection.shutdown(socket.SHUT_RDWR)

    def _peer(self, connection: socket.socket) -> str | None:
        """The peer as `ServicerContext.peer` writes it; None if this is not a connection of the port."""
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.getsockname()[1] != self._port:
            return None
        host, port = connection.getpeername()[:2]
        if connection.family == socket.AF_INET6 and not host.startswith(MAPPED):
            return f"ipv6:%5B{host}%5D:{port}"
        return f"ipv4:{host.removeprefix(MAPPED)}:{port}"


@contextmanager
def _duplicate(descriptor: int) -> Iterator[socket.socket | None]:
    """A duplicate of a socket; None if the descriptor is closed or is not a socket.

    gRPC may close the descriptor at any time, and another file may get the same number. A duplicate stays valid. An
    OSError within the context ends it silently: the connection was closed meanwhile.
    """
    try:
        duplicate = os.dup(descriptor)
    except OSError:
        yield None
        return
    try:
        connection = socket.socket(fileno=duplicate)
    except OSError:  # the file is not a socket
        os.close(duplicate)
        yield None
        return
    with connection, suppress(OSError):
        yield connection
