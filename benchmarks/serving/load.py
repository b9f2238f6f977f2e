"""A load generator that is free of coordinated omission, and light enough to share two cores with a server.

Open loop: requests are due at the times of a Poisson process, whatever the server does; a latency counts from when a
request was due, not from when a free connection was found for it (G. Tene, "How NOT to Measure Latency"; Schroeder,
Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

CONNECTIONS = 256
GIVE_UP_S = 10.0
OK = 200


@dataclass
class Measured:
    """What came of one load."""

    asked_per_s: float
    """The rate of arrivals; for a closed loop, of answers."""
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    """Of good answers."""
    failed: int = 0
    """Other statuses, broken connections, and answers that took longer than ten seconds."""

    @property
    def answered_per_s(self) -> float:
        """Good answers per second."""
        return len(self.latencies_ms) / self.seconds

    def quantile(self, share: float) -> float:
        """Latency in ms; failed requests count as infinitely slow."""
        if not self.latencies_ms:
            return float("inf")
        whole = np.sort(np.array(self.latencies_ms + [float("inf")] * self.failed))
        return float(whole[min(int(share * len(whole)), len(whole) - 1)])


class Connections:
    """Keep-alive HTTP/1.1 connections to one server; as many as are in use at once, up to a limit."""

    def __init__(self, host: str, port: int, limit: int = CONNECTIONS) -> None:
        self._place, self._free = (host, port), asyncio.Semaphore(limit)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, request: bytes) -> int:
        """The status of the answer to a whole request; 0 when the connection broke."""
        async with self._free:
            try:
                reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._place)
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
            except (OSError, asyncio.IncompleteReadError, IndexError, ValueError):
                return 0
            if b"connection: close" in lower:
                writer.close()
            else:
                self._idle.append((reader, writer))
            return int(head[9:12])

    def close(self) -> None:
        """End all connections."""
        for _, writer in self._idle:
            writer.close()


async def _timed(connections: Connections, request: bytes, due: float, into: Measured) -> None:
    try:
        status = await asyncio.wait_for(connections.ask(request), GIVE_UP_S)
    except TimeoutError:
        status = 0
    if status == OK:
        into.latencies_ms.append(1000 * (time.perf_counter() - due))
    else:
        into.failed += 1


async def open_loop(place: tuple[str, int], requests: Sequence[bytes], rate: float, seconds: float) -> Measured:
    """Requests at `rate` per second, as a Poisson process, for so many seconds."""
    connections, measured, chance = Connections(*place), Measured(rate, seconds), random.Random(1)
    tasks = []
    start = due = time.perf_counter()
    number = 0
    while due - start < seconds:
        pause = due - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(_timed(connections, requests[number % len(requests)], due, measured)))
        number += 1
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    connections.close()
    return measured


async def closed_loop(place: tuple[str, int], requests: Sequence[bytes], clients: int, seconds: float) -> Measured:
    """So many clients, each of which sends its next request when it has the answer to the one before."""
    connections, measured = Connections(*place, limit=clients), Measured(0.0, seconds)
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while time.perf_counter() < end:
            await _timed(connections, requests[number % len(requests)], time.perf_counter(), measured)
            number += clients

    await asyncio.gather(*(client(number) for number in range(clients)))
    connections.close()
    measured.asked_per_s = measured.answered_per_s
    return measured


def http_request(place: tuple[str, int], path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place[0]}:{place[1]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
