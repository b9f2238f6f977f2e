"""Large bodies are parsed in a thread of their own, one at a time, so that the event loop goes on answering others."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
LARGE = 64 * 1024
"""Bytes from which on a body goes to the thread; a smaller one is parsed in less time than it takes to hand it over."""
_thread = ThreadPoolExecutor(1, "parse")


async def off_loop(size: int, parse: Callable[..., T], *arguments: object) -> T:
    """What `parse(*arguments)` gives or raises; `size` is that of the body, bytes."""
    if size < LARGE:
        return parse(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_thread, parse, *arguments)
