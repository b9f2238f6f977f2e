"""Messages of gRPC that arrive: how many at a time, so that their bytes are bounded before anybody has read them.

gRPC takes a message whole before it tells its size, and has one limit of size for all methods. But it takes no more
than a small window of it until somebody reads, so what is bounded here is who may read at the same time: callers as
far as the budget of bytes has room for a message of the largest size, strangers a few at a time.
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
"""Messages of methods that are open to everybody that may arrive at the same time."""
OPEN_SECONDS = 1.0
"""That such a message may take."""
OPEN_BYTES = 4096
"""Of such a message: the name of a service or a model."""


class Arrivals:
    """Reads messages.

    Args:
        budget: of bytes.
        limits: sizes and times.
    """

    def __init__(self, budget: Budget, limits: Limits) -> None:
        self._budget, self._limits = budget, limits
        self._waiting: dict[asyncio.Future[None], Portion] = {}
        """Callers for whose messages there is no room yet, in the order in which they came."""
        self._open: dict[asyncio.Timeout, None] = {}
        """The strangers' messages that arrive, the oldest first."""

    @contextmanager
    def portion(self, caller: Caller) -> Iterator[Portion]:
        """The bytes of a call, until it is answered."""
        with self._budget.portion(caller) as portion:
            try:
                yield portion
            finally:
                self._let_go(portion, 0)

    async def message(self, portion: Portion, context: grpc.aio.ServicerContext) -> bytes | None:
        """The message of a caller's call; None if there is none.

        Raises:
            TooSlow: it did not arrive in time.
            Overloaded: too many others were in memory all that time.
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
        self._let_go(portion, len(message or b""))
        return message

    async def small_messages(self, portion: Portion, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """The messages of a caller's conversation, one at a time, each as small as that of an open method.

        Raises:
            TooSlow: one did not arrive in time.
            TooLarge: one is larger.
            Overloaded: there is no room for one.
        """
        portion.grow(self._limits.body)  # nobody knows the size of what comes next
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
        """The message of a method that is open to everybody; when another needs its place the oldest is given up.

        Raises:
            TooSlow: it did not arrive in time, or before too many others.
            TooLarge: it is larger than what such a method needs.
        """
        if len(self._open) >= OPEN_PLACES:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())
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
        """Wait in line for room in the budget."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = portion
        self._call_next()  # those before may be of an identity that has its share
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def _let_go(self, portion: Portion, size: int) -> None:
        portion.resize(size)
        if self._waiting:
            self._call_next()

    def _call_next(self) -> None:
        """Call those for whom there is room now."""
        for turn, portion in list(self._waiting.items()):
            if not turn.done() and portion.try_grow(self._limits.body):
                turn.set_result(None)
                del self._waiting[turn]
            elif not self._budget.has_room(self._limits.body):
                break


async def _read(context: grpc.aio.ServicerContext) -> bytes | None:
    """The next message of a call, not decoded; None at the end."""
    message = await context.read()
    return None if message is grpc.aio.EOF else message


def _small(message: bytes) -> bytes:
    if len(message) > OPEN_BYTES:
        raise TooLarge(f"the message has {len(message)} bytes; this method takes {OPEN_BYTES}")
    return message
