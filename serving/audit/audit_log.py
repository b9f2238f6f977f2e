"""The audit log of a server: one chained line per request, written by a thread shortly after the request.

A record waits in memory for at most the flush interval. Then the thread appends all waiting records and syncs the file.
So a killed server loses only records that are younger than the interval and one write to the disk. If the log cannot be
written, the server still answers requests. It counts the failures, keeps the records, tries again at every interval,
and records how many were lost if too many waited.
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
"""Most records in memory; further ones are dropped and counted."""
STOP_S = 10.0
"""Time limit of the last write when the log is closed."""
TEXT_CHARACTERS = 1000
"""Most characters of each text in a record."""
KEY_BYTES = 16
"""Least bytes of a key."""


class Sink(Protocol):
    """A destination of lines; `slipway.serving.audit.files` has the implementations."""

    def open(self, chain: Chain) -> dict[str, Any] | None:
        """Prepare for appending, and set the chain to the last line; returns a record to write first, or None."""

    def write(self, lines: bytes) -> bool:
        """Append whole lines durably; returns whether a new file was begun after them."""

    @property
    def name(self) -> str:
        """Name of the file that is written; empty if there is none."""

    def has(self, head: Head) -> bool:
        """Whether the log contains a line."""

    def append(self, lines: bytes) -> None:
        """Append whole lines durably, without beginning a new file."""

    def outdated(self) -> dict[str, Any] | None:
        """A record to write before `remove`; None if there is nothing to remove."""

    def remove(self) -> None:
        """Remove the files beyond the number to keep."""

    def close(self) -> None:
        """Close the destination."""


class AuditLog:
    """Writes records in the order of `append`.

    Args:
        sink: destination of the lines.
        key: key of the HMAC; None for plain SHA-256.
        flush_s: longest time that a record waits in memory, seconds.
        texts: whether records contain the texts of requests, redacted.
        heads: notes the head of the log in a second place.

    Raises:
        BadInput: the log cannot be opened, or its head cannot be noted.
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
        """Whether the last write failed, so that the sink has to be opened again before the next one."""
        self._failing = False
        """Whether the failure was logged already."""
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
        """Add a record, with the time of this call; returns at once."""
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            AUDIT_LOST.inc()
            return
        self._waiting.append({"time": _now(), **record})

    def close(self) -> None:
        """Write the waiting records, and close the log. Records that cannot be written now are lost."""
        self._stop.set()
        self._thread.join(STOP_S)
        if self._thread.is_alive():  # for example, the reader of the standard output has stopped reading
            logger.error("event=audit_failed error=a write has not ended; records=%d are lost", len(self._waiting))
            return
        if not self._broken:
            self._heads.note(self._head(), now=True)
        self._sink.close()

    def _run(self) -> None:
        stop = False
        while not stop:
            stop = self._stop.wait(self._flush_s)
            # The last write is made here too and not by `close`: it may never end, and `close` must.
            self._flush()

    def _head(self) -> Head:
        return Head(self._chain.seq, self._chain.head, self._sink.name)

    def _open(self) -> None:
        expected = self._chain.seq
        recovered = self._sink.open(self._chain)
        for _ in range(self._chain.seq - expected if self._broken else 0):
            self._waiting.popleft()  # this record was written before the failure
        self._broken = False
        if recovered:
            logger.warning("event=audit_%s torn_bytes=%d", recovered["event"], recovered.get("torn_bytes", 0))
            self._waiting.appendleft({"time": _now(), **recovered})

    def _flush(self) -> None:
        """Write all waiting records. After a failure they wait for the next attempt, except those that were written."""
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
        except Exception as error:  # any exception would end the thread, and with it the audit log
            self._failed(error, batch, before)
        AUDIT_WAITING.set(len(self._waiting))

    def _line(self, record: dict[str, Any]) -> bytes:
        if "texts" in record:
            record = {**record, "texts": [redacted(text, TEXT_CHARACTERS) for text in record["texts"]]}
        try:
            return self._chain.line(record)
        except TypeError:  # a string with lone surrogates, for example; it must not stop the other records
            return self._chain.line({"time": record["time"], "event": "unwritable"})

    def _failed(self, error: Exception, batch: list[dict[str, Any]], before: tuple[int, str]) -> None:
        if not self._failing:  # logged once, not at every attempt
            logger.error("event=audit_failed error=%s: %s", type(error).__name__, error)
        AUDIT_ERRORS.inc()
        self._chain.seq, self._chain.head = before
        self._waiting.extendleft(reversed(batch))
        self._broken = self._failing = True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def key_of(file: Path | None) -> bytes | None:
    """Read the key in a file, without white space around it; None for no file.

    Raises:
        BadInput: the file cannot be read, or the key is too short.
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
