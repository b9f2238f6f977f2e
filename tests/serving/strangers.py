"""What clients without manners do to a server, for the tests: bounded in number and time, to this machine only."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from socket import create_connection, socket
from types import TracebackType

import grpc
import psutil

from tests.serving.conftest import Server

MEGABYTE = 2**20
CHUNK = bytes(65536)


class Growth:
    """How much memory a process has taken at most within the context, in MiB."""

    def __init__(self, server: Server) -> None:
        self._process = psutil.Process(server.process.pid)
        self._before = self._most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self._most = max(self._most, self._process.memory_info().rss)

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mebibytes(self) -> float:
        grown: int = self._most - self._before
        return grown / MEGABYTE


@contextmanager
def connections(port: int, count: int, content: bytes = b"") -> Iterator[list[socket]]:
    """Connections, each of which has sent this much."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(create_connection(("127.0.0.1", port), timeout=10))
            with suppress(OSError):
                connection.sendall(content)
            found.append(connection)
        yield found


def pour(connections: list[socket], size: int, seconds: float = 5.0) -> None:
    """Send so many bytes over each connection, as long as the other side takes them, and for so long at most."""
    left = dict.fromkeys(connections, size)
    until = time.monotonic() + seconds
    for connection in connections:
        connection.setblocking(False)
    while left and time.monotonic() < until:
        before = sum(left.values())
        for connection in list(left):
            try:
                left[connection] -= connection.send(CHUNK[: left[connection]])
            except BlockingIOError:
                continue
            except OSError:
                del left[connection]
                continue
            if not left[connection]:
                del left[connection]
        if sum(left.values()) == before:
            time.sleep(0.01)
    for connection in connections:
        connection.settimeout(10)


def calls(server: Server, method: str, count: int, size: int, key: str = "", seconds: float = 30.0) -> Counter[str]:
    """So many calls at the same time over one connection, each with a string of this size; the statuses."""
    string = b"x" * (size - 8)
    length = bytes([len(string) & 127 | 128, len(string) >> 7 & 127 | 128, len(string) >> 14 & 127 | 128])
    message = b"\x0a" + length + bytes([len(string) >> 21]) + string
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    found: Counter[str] = Counter()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options) as channel:
        ask = channel.unary_unary(method)
        for call in [ask.future(message, timeout=seconds, metadata=metadata) for _ in range(count)]:
            try:
                call.result()
                found["OK"] += 1
            except grpc.RpcError as error:
                found[error.code().name] += 1
    return found


def open_at(server: Server, port: int) -> int:
    """Connections that a server has at a port."""
    process = psutil.Process(server.process.pid)
    return sum(
        connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED
        for connection in process.connections("tcp")
    )
