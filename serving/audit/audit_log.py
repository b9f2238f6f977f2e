"""The audit log of a server: one chained line per request, written behind its back but never far behind.

A line waits in memory for at most the flush interval; then a thread appends all that wait and brings them to the
disk. So a server that is killed loses no line of a request that was answered longer ago than that (and than the disk
takes for one write). If the log cannot be written the server goes on answering: it counts the failures, keeps what
waits, tries again at every interval, and records how many lines were lost if too many came to wait.
"""

import logging
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from slipway.components.errors import BadInput
from slipway.serving.audit.chain import CHANGED, Chain
from slipway.serving.audit.heads import Head, HeadNotes
from slipway.serving.audit.redaction import redacted
from slipway.serving.telemetry.metrics import AUDIT_ERRORS, AUDIT_LINES, AUDIT_LOST, AUDIT_WAITING

logger = logging.getLogger("serving")
MOST_WAITING = 100_000
STOP_S = 10.0
"""How long the last write may take."""
TEXT_CHARACTERS = 1000
KEY_BYTES = 16


class Sink(Protocol):
    """Where lines go; see `slipway.serving.audit.files`."""

    def open(self, chain: Chain) -> dict[str, Any] | None:
        """Get ready to append, and set the chain to where the log ends."""

    def write(self, lines: bytes) -> bool:
        """Append whole lines durably; returns whether a new file was begun after them."""

    @property
    def name(self) -> str:
        """Of the file that is written; empty for none."""

    def has(self, head: Head) -> bool:
        """Whether the log has a line."""

    def append(self, lines: bytes) -> None:
        """Append whole lines durably, and begin no new file."""

    def outdated(self) -> dict[str, Any] | None:
        """What to record before `remove`, if there is something to remove."""

    def remove(self) -> None:
        """Remove the files that are not to be kept."""

    def close(self) -> None:
        """Let go."""


class AuditLog:
    """Takes records and writes them in order.

    Args:
        sink: where to.
        key: of the HMAC; None for plain SHA-256.
        flush_s: longest wait of a record in memory, seconds.
        texts: whether records keep their texts, redacted.
        heads: where its head is noted.

    Raises:
        BadInput: the log cannot be opened, or its head not be noted.
    """

    def __init__(
        self,
        sink: Sink,
        key: bytes | None = None,
        flush_s: float = 0.2,
        texts: bool = False,
        heads: HeadNotes | None = None,
    ) -> None:
        self.texts = texts
        self._heads = heads or HeadNotes()
        self._sink = sink
        self._flush_s = flush_s
        self._chain = Chain(key)
        self._waiting: deque[dict[str, Any]] = deque()
        self._lost = 0
        self._broken = False
        self._failing = False
        self._stop = threading.Event()
        try:
            self._open()
            if missing := self._heads.begin(self._sink.has, self._head()):
                self._waiting.append({"time": _now(), "event": CHANGED, "missing": [one.seq for one in missing]})
        except OSError as error:
            raise BadInput(f"the audit log cannot be written: {error}") from error
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def append(self, record: dict[str, Any]) -> None:
        """Take a record; returns at once. The time of the call becomes the record's."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            AUDIT_LOST.inc()
            return
        self._waiting.append({"time": _now(), **record})

    def close(self) -> None:
        """Write what waits, and end. What cannot be written now is lost."""
        self._stop.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():  # nobody reads the standard output, say
            logger.error("event=audit_failed error=a write has not ended; records=%d are lost", len(self._waiting))
            return
        if not self._broken:
            self._heads.note(self._head(), now=True)
        self._sink.close()

    def _run(self) -> None:
        stop = False
        while not stop:
            stop = self._stop.wait(self._flush_s)
            self._flush()  # the last one here too: a write may never end, and whoever closes does not wait for ever

    def _head(self) -> Head:
        return Head(self._chain.seq, self._chain.head, self._sink.name)

    def _open(self) -> None:
        expected = self._chain.seq
        recovered = self._sink.open(self._chain)
        for _ in range(self._chain.seq - expected if self._broken else 0):
            self._waiting.popleft()  # got through before the failure
        self._broken = False
        if recovered:
            logger.warning("event=audit_%s torn_bytes=%d", recovered["event"], recovered.get("torn_bytes", 0))
            self._waiting.appendleft({"time": _now(), **recovered})

    def _flush(self) -> None:
        """Write all that waits now; on failure it waits on, less what did get through."""
        batch: list[dict[str, Any]] = []
        before = self._chain.seq, self._chain.head
        try:
            if self._broken:
                self._open()
                before = self._chain.seq, self._chain.head
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if self._lost:
                lost, self._lost = self._lost, 0
                batch.append({"time": _now(), "event": "lost", "records": lost})
            begun = bool(batch) and self._sink.write(b"".join(map(self._line, batch)))
            if begun and (removed := self._sink.outdated()):
                batch.append({"time": _now(), **removed})
                self._sink.append(self._line(batch[-1]))
                self._sink.remove()
            self._heads.note(self._head(), now=begun)
            AUDIT_LINES.inc(len(batch))
            self._failing = False
        except Exception as error:  # whatever it is, the thread must live on
            self._failed(error, batch, before)
        AUDIT_WAITING.set(len(self._waiting))

    def _line(self, record: dict[str, Any]) -> bytes:
        if "texts" in record:
            record = {**record, "texts": [redacted(text, TEXT_CHARACTERS) for text in record["texts"]]}
        try:
            return self._chain.line(record)
        except TypeError:  # not Unicode: it must not stop the others
            return self._chain.line({"time": record["time"], "event": "unwritable"})

    def _failed(self, error: Exception, batch: list[dict[str, Any]], before: tuple[int, str]) -> None:
        if not self._failing:  # once, not at every attempt
            logger.error("event=audit_failed error=%s: %s", type(error).__name__, error)
        AUDIT_ERRORS.inc()
        self._chain.seq, self._chain.head = before
        self._waiting.extendleft(reversed(batch))
        self._broken = self._failing = True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def key_of(file: Path | None) -> bytes | None:
    """The key in a file, without white space around it; None for no file.

    Raises:
        BadInput: it cannot be read or is too short.
    """
    if file is None:
        return None
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise BadInput(f"the audit key {file} cannot be read: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise BadInput(f"the audit key {file} has {len(key)} bytes; expected at least {KEY_BYTES} random ones")
    return key
