"""The open connections of REST: how many there may be, and which one is closed to make room for a new one.

A connection is counted from accept on, so before its TLS handshake. A connection with a complete request is never
closed before the response. All others may be closed to make room, in the order of `Standing`. So an unknown client can
neither block the server by holding connections open, nor end the request of another client.
"""

from enum import IntEnum
from typing import Protocol


class Standing(IntEnum):
    """The state of a connection without a complete request. The lowest state is closed first."""

    FRESH = 0
    """No head of a request has arrived yet."""
    STRANGER = 1
    """No caller has passed the access checks on it, and it waits for a body or for another request."""
    IDLE = 2
    """A caller has passed the checks on it, and it has no request. One may be on its way, which closing would lose."""
    ARRIVING = 3
    """A caller has passed the checks, and the body of the request has not arrived."""
    LEAVING = 4
    """The response is ready, and the client does not read it."""


class Member(Protocol):
    """A connection in the pool."""

    def drop(self) -> None:
        """Close the connection at once, to make room."""


class ConnectionPool:
    """The open connections of a server.

    Args:
        limit: most connections.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[Member, Standing | None] = {}
        """The standing of each connection; None for one with a complete request."""
        self._waiting: tuple[dict[Member, None], ...] = tuple({} for _ in Standing)
        """The connections of each standing, the one that has waited longest first (a dict keeps the order)."""

    def enter(self, member: Member) -> None:
        """Add a new connection. If there are too many, one without a complete request is closed, or else this one."""
        if len(self._open) >= self._limit:
            oldest = next((next(iter(waiting)) for waiting in self._waiting if waiting), None)
            if oldest is None:
                member.drop()
                return
            self.leave(oldest)
            oldest.drop()
        self._open[member] = None
        self.wait(member, Standing.FRESH)

    def wait(self, member: Member, standing: Standing) -> None:
        """Set the standing of a connection: from now on it may be closed to make room."""
        if member in self._open:
            self.work(member)
            self._open[member] = standing
            self._waiting[standing][member] = None

    def work(self, member: Member) -> None:
        """Note that a connection has a complete request, so that it is not closed."""
        standing = self._open.get(member)
        if standing is not None:
            del self._waiting[standing][member]
            self._open[member] = None

    def standing(self, member: Member) -> Standing | None:
        """The standing of a connection; None if it has a complete request or is closed."""
        return self._open.get(member)

    def leave(self, member: Member) -> None:
        """Remove a closed connection."""
        self.work(member)
        self._open.pop(member, None)
