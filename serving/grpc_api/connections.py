"""The open connections of gRPC: how many there may be, and who makes room for a new one.

gRPC can be told of a number of connections beyond which it takes none, from the moment that they are accepted. That
alone would let strangers keep everybody else out by holding them. So below that number its connections are counted
from outside, as the sockets that this process has open at that port, and too many are ended: first those on which
nobody ever called who may call, the oldest of them first, and never those that have a caller's request at hand.
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
LOOK_S = 0.1
"""Between two looks at the number of open files, which cost microseconds while there are few."""
PAUSE = 20
"""Times what a look took, until the next: no more than a twentieth of the time goes into looking."""
CROWD = 0.5
"""Of the limit: from there on, looks tell who came before whom, so that those who came last keep their time."""
GROWING_PAUSE = 2
"""The same from there on while there are more each time: many may be coming, and gRPC has a limit of its own."""
DESCRIPTORS = Path("/dev/fd")
MAPPED = "::ffff:"
"""Before an address of IPv4 on a socket for both."""


@dataclass
class _Calls:
    """Those of callers who may call, on one connection."""

    at_hand: int = 0
    last: int = 0
    """The turn of the latest; turns are counted up."""


class Connections:
    """Watches the connections of a port.

    Args:
        port: of gRPC.
        limit: how many connections there may be.
    """

    def __init__(self, port: int, limit: int) -> None:
        self._port, self._limit = port, limit
        self._calls: dict[str, _Calls] = {}
        """By the address of the other side, as gRPC writes it."""
        self._turn = 0
        self._seen: dict[str, None] = {}
        """Addresses that were there at the last look, in the order in which they came."""
        self._peers: dict[tuple[int, int], str | None] = {}
        """The other side of each open file, by its number and inode: to ask costs more than all else in a look. A
        number alone is taken again as soon as it is free."""
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def call(self, peer: str) -> Iterator[None]:
        """A caller's request is at hand on the connection with this address."""
        calls = self._calls.get(peer)
        if calls is None:
            calls = self._calls[peer] = _Calls()
        self._turn += 1
        calls.last = self._turn
        calls.at_hand += 1
        try:
            yield
        finally:
            calls.at_hand -= 1

    def watch(self) -> None:
        """Begin to look; needs the running event loop."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        """Look no more."""
        if self._watching:
            self._watching.cancel()

    async def _watch(self) -> None:
        pause, before = LOOK_S, 0
        while True:
            await asyncio.sleep(pause)
            began = time.perf_counter()
            files = len(os.listdir(DESCRIPTORS))
            crowded = files > CROWD * self._limit
            if crowded or len(self._calls) > 2 * self._limit:
                self._look()
            share = GROWING_PAUSE if crowded and files > before else PAUSE
            pause, before = max(LOOK_S, share * (time.perf_counter() - began)), files

    def _look(self) -> None:
        """Find the connections, and end those that are too many."""
        self._peers = dict(self._files())
        found = {peer: number for (number, _), peer in self._peers.items() if peer}
        known = [peer for peer in self._seen if peer in found]
        new = found.keys() - known
        self._seen = dict.fromkeys([*known, *found])
        self._calls = {peer: calls for peer, calls in self._calls.items() if peer in found or calls.at_hand}
        too_many = len(found) - self._limit
        if too_many > 0:
            # those that nobody saw at the last look are about to make their first call, maybe
            for peer in [peer for peer in self._least_needed() if peer not in new][:too_many]:
                self._end(peer, found[peer])
            logger.warning("event=connections_ended port=%d open=%d", self._port, len(found))

    def _least_needed(self) -> list[str]:
        """The connections that may be ended, the first to go first."""
        strangers = [peer for peer in self._seen if peer not in self._calls]
        idle = [peer for peer, calls in self._calls.items() if not calls.at_hand and peer in self._seen]
        return strangers + sorted(idle, key=lambda peer: self._calls[peer].last)

    def _files(self) -> Iterator[tuple[tuple[int, int], str | None]]:
        """Number and inode of each open file, and the other side when it is one of the port's connections."""
        for name in os.listdir(DESCRIPTORS):
            number = int(name)
            with suppress(OSError):  # closed meanwhile
                file = (number, os.fstat(number).st_ino)
                yield file, self._peers[file] if file in self._peers else self._peer_of(number)

    def _peer_of(self, number: int) -> str | None:
        with _duplicate(number) as connection:
            return self._peer(connection) if connection else None
        return None  # closed meanwhile

    def _end(self, peer: str, number: int) -> None:
        """End a connection; gRPC sees that the other side has closed it."""
        with _duplicate(number) as connection:
            if connection and self._peer(connection) == peer:
                connection.shutdown(socket.SHUT_RDWR)

    def _peer(self, connection: socket.socket) -> str | None:
        """The other side, if this is one of the port's connections; as `ServicerContext.peer` writes it."""
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.getsockname()[1] != self._port:
            return None
        host, port = connection.getpeername()[:2]
        if connection.family == socket.AF_INET6 and not host.startswith(MAPPED):
            return f"ipv6:%5B{host}%5D:{port}"
        return f"ipv4:{host.removeprefix(MAPPED)}:{port}"


@contextmanager
def _duplicate(number: int) -> Iterator[socket.socket | None]:
    """A socket once more, or None; its number may be closed and taken by another file at any time, a duplicate stays.

    An operating system's error within the context ends it: then the connection has gone by itself.
    """
    try:
        number = os.dup(number)
    except OSError:
        yield None
        return
    try:
        connection = socket.socket(fileno=number)
    except OSError:  # no socket
        os.close(number)
        yield None
        return
    with connection, suppress(OSError):
        yield connection
