"""Parses large bodies in a separate thread, one at a time, so that the event loop can answer other requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
LARGE = 64 * 1024
"""Bytes from which on a body is parsed in the thread. Smaller ones are parsed faster than they are handed over."""
_thread = ThreadPoolExecutor(1, "parse")


async def off_loop(size: int, parse: Callable[..., T], *arguments: object) -> T:
    """Return or raise what `parse(*arguments)` does; `size` is the size of the body in bytes."""
    if size < LARGE:
        return parse(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_thread, parse, *arguments)
