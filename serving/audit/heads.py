"""Notes the head (the last line) of an audit log in a second place, to detect that the log was cut or exchanged.

A note names a line by its number and hash: `event=audit_head file=… seq=… hash=…`. It goes to the server's ordinary log
at start, at the end, at every new file, and each minute while the log grows. A file can hold the newest note too, as a
line of JSON. If the log of a server that starts lacks the line in the file, that note stays in the file forever.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.machine import whole_file
from slipway.components.machine.private_files import FILE_MODE, FOLDER_MODE

logger = logging.getLogger("serving")
EACH_S = 60.0
"""Shortest time between two notes while the log grows."""
MOST_MISSED = 100
"""Most notes of missing lines that are kept."""
_LOGGED = re.compile(r"event=audit_head (?:file=\S+ )?seq=(\d{1,18}) hash=([0-9a-f]{64})\b")
_SHORT = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, order=True)
class Head:
    """The number and hash of a line, and the file that contains it."""

    seq: int
    hash: str
    file: str = ""


class HeadNotes:
    """Notes the head of one server's log.

    Args:
        path: file of the notes; None to note in the ordinary log alone.
        clock: a monotonic clock, seconds.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._missed: list[Head] = []
        self._noted, self._noted_at = Head(0, ""), float("-inf")

    def begin(self, has: Callable[[Head], bool], head: Head) -> list[Head]:
        """Note the head at start, and return the earlier notes whose lines are missing in the log.

        Args:
            has: whether the log contains a line.
            head: the head of the log now.

        Raises:
            OSError: the file cannot be written.
            BadInput: the file contains something else than heads.
        """
        known = heads_in(self._path.read_text("utf-8"), str(self._path)) if self._path and self._path.exists() else []
        self._missed = [noted for noted in known if noted.seq and not has(noted)][-MOST_MISSED:]
        for missed in self._missed:
            logger.error(
                "event=audit_changed seq=%d hash=%s is not in the log, where it was noted", missed.seq, missed.hash
            )
        self._write(head)  # may raise: a file that cannot be written ends a server at its start, and is logged later
        self.note(head, now=True)
        return self._missed

    def note(self, head: Head, now: bool = False) -> None:
        """Note the head if it has changed, and if the last note is `EACH_S` old or `now` is set."""
        if head == self._noted or not (now or self._clock() - self._noted_at >= EACH_S):
            return
        logger.info("event=audit_head file=%s seq=%d hash=%s", head.file or "-", head.seq, head.hash)
        self._noted, self._noted_at = head, self._clock()
        try:
            self._write(head)
        except OSError as error:  # the audit log itself can still be written
            logger.error("event=audit_head_failed error=%s: %s", type(error).__name__, error)

    def _write(self, head: Head) -> None:
        if self._path:
            lines = "".join(json.dumps(asdict(note)) + "\n" for note in (*self._missed, head))
            self._path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            whole_file.replace(self._path, lines, FILE_MODE)


def heads_in(text: str, name: str) -> list[Head]:
    """Find the heads in a text: a file of notes, a server's ordinary log, or SEQ:HASH.

    Args:
        text: the text.
        name: what the text is, for the message of an error.

    Raises:
        BadInput: there is no head in it, or a line of JSON is not one.
    """
    heads = [Head(int(seq), value) for seq, value in (*_LOGGED.findall(text), *_SHORT.findall(text))]
    for line in text.splitlines():
        if line.startswith('{"seq":'):
            try:
                fields = json.loads(line)
                heads.append(Head(int(fields["seq"]), str(fields["hash"]), str(fields.get("file", ""))))
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{name} has a line that is not the head of an audit log: {line[:80]!r}") from error
    if not heads:
        raise BadInput(f"{name} names no head of an audit log: neither SEQ:HASH, nor event=audit_head, nor JSON")
    return heads
