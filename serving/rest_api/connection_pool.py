"""The open connections of REST: how many there may be, and who makes room for a new one.

A connection is counted from the moment that it is accepted, so before its TLS handshake. One whose request is there
as a whole is left alone until it has been answered; all others may be closed to make room, those first who have shown
least. So a stranger can neither keep the places by holding them, nor end the request of anybody else.
"""

from enum import IntEnum
from typing import Protocol


class Standing(IntEnum):
    """What a connection without a whole request is about; those of the lowest number make room first."""

    FRESH = 0
    """It never had the head of a request."""
    STRANGER = 1
    """Nobody is known on it: the body that its head announced has not come, or it waits for another request."""
    IDLE = 2
    """A caller is known, and has no request at hand: to close it may meet one that is on its way."""
    ARRIVING = 3
    """A caller is known, and the body of the request has not come."""
    LEAVING = 4
    """The answer is there, and the client does not read it."""


class Member(Protocol):
    """A connection as the crowd sees it."""

    def drop(self) -> None:
        """Close at once, to make room."""


class ConnectionPool:
    """The open connections of a server.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[Member, Standing | None] = {}
        """None: it is at work."""
        self._waiting: tuple[dict[Member, None], ...] = tuple({} for _ in Standing)
        """Those of each standing, the longest waiting first."""

    def enter(self, member: Member) -> None:
        """A new connection; when there are too many, one that has no whole request goes, maybe this one."""
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
        """From now on it may be closed to make room."""
        if member in self._open:
            self.work(member)
            self._open[member] = standing
            self._waiting[standing][member] = None

    def work(self, member: Member) -> None:
        """It has a whole request."""
        standing = self._open.get(member)
        if standing is not None:
            del self._waiting[standing][member]
            self._open[member] = None

    def standing(self, member: Member) -> Standing | None:
        """What it waits for; None when it is at work or closed."""
        return self._open.get(member)

    def leave(self, member: Member) -> None:
        """It is closed."""
        self.work(member)
        self._open.pop(member, None)
