"""Where an audit log ended, noted in a second place, so that a log that was cut, exchanged or deleted shows.

A note names a line by number and hash: `event=audit_head file=… seq=… hash=…` in the server's ordinary log, at start,
at the end, at every new file, and each minute while the log grows. A file holds the newest note too, as a line of
JSON. When a server starts and its log has not the line that the file names, the note stays in the file for ever.
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
"""Between notes while the log grows."""
MOST_MISSED = 100
"""Notes that are kept of lines that were not there."""
_LOGGED = re.compile(r"event=audit_head (?:file=\S+ )?seq=(\d{1,18}) hash=([0-9a-f]{64})\b")
_SHORT = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, order=True)
class Head:
    """A line by its number and hash, and the file that it was in."""

    seq: int
    hash: str
    file: str = ""


class HeadNotes:
    """Notes the head of one server's log.

    Args:
        path: the file; None for the ordinary log alone.
        clock: seconds that only grow.
    """

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._missed: list[Head] = []
        self._noted, self._at = Head(0, ""), float("-inf")

    def begin(self, has: Callable[[Head], bool], head: Head) -> list[Head]:
        """Note the head at start, and return the notes of lines that the log does not have.

        Args:
            has: whether the log has a line.
            head: of the log now.

        Raises:
            OSError: the file cannot be written.
            BadInput: it is not one of heads.
        """
        known = heads_in(self._path.read_text("utf-8"), str(self._path)) if self._path and self._path.exists() else []
        self._missed = [one for one in known if one.seq and not has(one)][-MOST_MISSED:]
        for one in self._missed:
            logger.error("event=audit_changed seq=%d hash=%s is not in the log, where it was noted", one.seq, one.hash)
        self._write(head)  # raises, now that somebody is there to see it
        self.note(head, now=True)
        return self._missed

    def note(self, head: Head, now: bool = False) -> None:
        """Note the head, if it is another than before and the last note is old enough, or at once."""
        if head == self._noted or not (now or self._clock() - self._at >= EACH_S):
            return
        logger.info("event=audit_head file=%s seq=%d hash=%s", head.file or "-", head.seq, head.hash)
        self._noted, self._at = head, self._clock()
        try:
            self._write(head)
        except OSError as error:  # the log itself goes on
            logger.error("event=audit_head_failed error=%s: %s", type(error).__name__, error)

    def _write(self, head: Head) -> None:
        if self._path:
            lines = "".join(json.dumps(asdict(one)) + "\n" for one in (*self._missed, head))
            self._path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            whole_file.replace(self._path, lines, FILE_MODE)


def heads_in(text: str, name: str) -> list[Head]:
    """The heads in a file of them, in a server's ordinary log, or given as SEQ:HASH.

    Raises:
        BadInput: there is none.
    """
    found = [Head(int(seq), value) for seq, value in (*_LOGGED.findall(text), *_SHORT.findall(text))]
    for line in text.splitlines():
        if line.startswith('{"seq":'):
            try:
                given = json.loads(line)
                found.append(Head(int(given["seq"]), str(given["hash"]), str(given.get("file", ""))))
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{name} has a line that is not the head of an audit log: {line[:80]!r}") from error
    if not found:
        raise BadInput(f"{name} names no head of an audit log: neither SEQ:HASH, nor event=audit_head, nor JSON")
    return found
