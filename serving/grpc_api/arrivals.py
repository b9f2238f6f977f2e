"""Limits how many messages of gRPC are read at the same time, so that their bytes fit into the budget.

gRPC reads a message as a whole before its size is known, and has one size limit for all methods. But until `read` is
called it buffers only a small window of the message. So this module limits who may call `read`: accepted callers while
the budget has room for a message of the largest size, and unknown callers a few at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc

from slipway.serving.access.byte_budget import Budget, Portion
from slipway.serving.access.caller import Caller
from slipway.serving.errors import Overloaded, TooLarge, TooSlow
from slipway.serving.limits import Limits

OPEN_PLACES = 8
"""Most messages of methods open to everybody that are read at the same time."""
OPEN_SECONDS = 1.0
"""Time limit for such a message to arrive."""
OPEN_BYTES = 4096
"""Most bytes of such a message, which contains only the name of a service or a model."""


class Arrivals:
    """Reads the messages of calls.

    Args:
        budget: bytes of all requests, shared with REST.
        limits: sizes and times.
    """

    def __init__(self, budget: Budget, limits: Limits) -> None:
        self._budget, self._limits = budget, limits
        self._waiting: dict[asyncio.Future[None], Portion] = {}
        """The portions of calls that wait for room in the budget, in the order of arrival."""
        self._open: dict[asyncio.Timeout, None] = {}
        """The timeouts of the messages of open methods that are being read, the oldest first."""

    @contextmanager
    def portion(self, caller: Caller) -> Iterator[Portion]:
        """An empty portion for one call; its bytes are given back when the context ends."""
        with self._budget.portion(caller) as portion:
            try:
                yield portion
            finally:
                self._shrink(portion, 0)

    async def message(self, portion: Portion, context: grpc.aio.ServicerContext) -> bytes | None:
        """Read the message of an accepted caller's call; None if the client sends none.

        Raises:
            TooSlow: the message did not arrive in time.
            Overloaded: the budget had no room in that time.
        """
        seconds = self._limits.body_seconds
        try:
            async with asyncio.timeout(seconds):
                if self._waiting or not portion.try_grow(self._limits.body):
                    await self._room(portion)
                message: bytes | None = await _read(context)
        except TimeoutError:
            if not portion.size:
                raise Overloaded("the messages of too many calls are in memory; try again later") from None
            raise TooSlow(f"the message did not arrive within {seconds:g} s") from None
        self._shrink(portion, len(message or b""))  # now that the size is known
        return message

    async def small_messages(self, portion: Portion, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Read the messages of a bidirectional call, one at a time, each of at most `OPEN_BYTES` bytes.

        Raises:
            TooSlow: a message did not arrive in time.
            TooLarge: a message is larger.
            Overloaded: the budget has no room for a message.
        """
        portion.grow(self._limits.body)  # gRPC may buffer a message of the largest size before this code sees it
        while True:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    message: bytes | None = await _read(context)
            except TimeoutError:
                raise TooSlow(f"no message came for {self._limits.body_seconds:g} s") from None
            if message is None:
                return
            yield _small(message)

    async def open_message(self, context: grpc.aio.ServicerContext) -> bytes | None:
        """Read the message of a method that is open to everybody. If too many are being read, the oldest is refused.

        Raises:
            TooSlow: the message did not arrive in time, or was the oldest of too many.
            TooLarge: the message is larger than such a method needs.
        """
        if len(self._open) >= OPEN_PLACES:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())  # it times out now
        timeout = asyncio.timeout(OPEN_SECONDS)
        try:
            async with timeout:
                self._open[timeout] = None
                message: bytes | None = await _read(context)
        except TimeoutError:
            raise TooSlow(f"the message did not arrive within {OPEN_SECONDS:g} s, or others came in between") from None
        finally:
            self._open.pop(timeout, None)
        return message and _small(message)

    async def _room(self, portion: Portion) -> None:
        """Wait in the queue until the budget has room."""
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[room] = portion
        self._grant_room()  # those before it may wait only for the share of their own identity
        try:
            await room
        finally:
            self._waiting.pop(room, None)

    def _shrink(self, portion: Portion, size: int) -> None:
        portion.resize(size)
        if self._waiting:
            self._grant_room()

    def _grant_room(self) -> None:
        """Let the waiting calls go on for which the budget has room now."""
        for room, portion in list(self._waiting.items()):
            if not room.done() and portion.try_grow(self._limits.body):
                room.set_result(None)
                del self._waiting[room]
            elif not self._budget.has_room(self._limits.body):
                break


async def _read(context: grpc.aio.ServicerContext) -> bytes | None:
    """Read the next message of a call, not decoded; None at the end of the stream."""
    message = await context.read()
    return None if message is grpc.aio.EOF else message


def _small(message: bytes) -> bytes:
    if len(message) > OPEN_BYTES:
        raise TooLarge(f"the message has {len(message)} bytes; this method takes {OPEN_BYTES}")
    return message
