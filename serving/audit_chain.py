"""The form of an audit log: JSON lines that are chained by hashes, so that a change shows.

Each line has a number `seq`, the `hash` of the line before it in `prev`, and last its own `hash`: SHA-256 over its
bytes up to there or, with a key, HMAC-SHA256 (RFC 2104). Without a key only someone who can rewrite the whole rest of
the log can hide a change; with one, only someone who has the key. A shortened end shows against a head that was noted
elsewhere (the server logs it at every new file and when it stops).
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

GENESIS = "0" * 64
"""`prev` of the first line."""
RECOVERED = "recovered"
"""Event of the line after a torn one: it names the size and SHA-256 of what a killed server left half written."""
_LINE = re.compile(rb'(\{"seq":(\d{1,18}),"prev":"([0-9a-f]{64})",.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


def digest(body: bytes, key: bytes | None) -> str:
    """The hash of a line's bytes up to `,"hash"`, in hexadecimal."""
    return hmac.new(key, body, "sha256").hexdigest() if key else hashlib.sha256(body).hexdigest()


@dataclass
class Chain:
    """Where a log stands: makes its next lines."""

    key: bytes | None = None
    seq: int = 0
    head: str = GENESIS

    def line(self, record: dict[str, Any]) -> bytes:
        """The record as the next line, with its newline.

        Raises:
            TypeError: it is not JSON, or not Unicode; the chain stays where it was.
        """
        body = orjson.dumps({"seq": self.seq + 1, "prev": self.head, **record})[:-1]
        self.seq += 1
        self.head = digest(body, self.key)
        return b'%b,"hash":"%b"}\n' % (body, self.head.encode())


@dataclass(frozen=True)
class Line:
    """What a line says of its place; `body` is what its hash is over."""

    seq: int
    prev: str
    hash: str
    body: bytes

    def intact(self, key: bytes | None) -> bool:
        """Whether the hash fits the content."""
        return hmac.compare_digest(digest(self.body, key), self.hash)

    def record(self) -> dict[str, Any]:
        """The content; empty if it is not JSON."""
        try:
            content: dict[str, Any] = json.loads(self.body + b"}")
        except ValueError:
            return {}
        return content


def parsed(raw: bytes) -> Line | None:
    """A line without its newline, taken apart; None when it has not the form of one."""
    match = _LINE.fullmatch(raw)
    return Line(int(match[2]), match[3].decode(), match[4].decode(), match[1]) if match else None


@dataclass(frozen=True)
class Place:
    """A raw line, without its newline, and where it is."""

    file: str
    number: int
    raw: bytes
    complete: bool = True
    """Whether it ends with a newline."""


@dataclass
class Verification:
    """What a walk over a log found."""

    lines: int = 0
    first: int = 0
    seq: int = 0
    """Of the last line in the chain; with `head`, its hash, it can be compared with what was noted elsewhere."""
    head: str = GENESIS
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is unusual, but no sign of a change."""


Head = tuple[int, str]
"""Number and hash of a line."""


def verify(places: Iterable[Place], key: bytes | None = None, expected_head: Head | None = None) -> Verification:
    """Walk over the lines of one log, in the order of its files, and name each that does not fit.

    Args:
        places: all lines.
        key: of the HMAC; None for plain SHA-256.
        expected_head: of a line that must be there.
    """
    return _Walk(key, expected_head).over(iter(places))


class _Walk:
    def __init__(self, key: bytes | None, expected_head: Head | None) -> None:
        self.key = key
        self.expected_head = expected_head
        self.found = Verification()
        self.missing: dict[int, str] = {}
        """Numbers that were passed over, and where; those that turn up later are out of place, not missing."""
        self.torn: list[Place] = []
        """Lines without form, until the next one that has it tells what they are."""

    def over(self, places: Iterator[Place]) -> Verification:
        for place in places:
            line = parsed(place.raw)
            if line is None:
                self.torn.append(place)
                continue
            self._judge_torn(line)
            self._line(place, line)
        self._judge_torn(None)
        self._gaps()
        if self.expected_head:
            self.found.problems.append(f"the line {self.expected_head[0]} with the expected hash is not there")
        return self.found

    def _judge_torn(self, line: Line | None) -> None:
        """Judge lines without form by the one after them, or by the end."""
        if not self.torn:
            return
        torn, self.torn = self.torn, []
        record = line.record() if line else {}
        content = b"\n".join(place.raw for place in torn)
        if record.get("event") == RECOVERED and record.get("torn_sha256") == hashlib.sha256(content).hexdigest():
            self.found.notes.append(f"{self._at(torn[0])} is torn: the server was killed here and went on after it")
        elif line is None and not torn[-1].complete:
            self.found.notes.append(f"{self._at(torn[0])} is torn: the server was killed, or is writing it now")
        else:
            self.found.problems += [f"{self._at(place)} is not an audit line: altered" for place in torn]

    def _line(self, place: Place, line: Line) -> None:
        found = self.found
        found.lines += 1
        if not line.intact(self.key):
            self._problem(place, f"(seq {line.seq}) was altered, or written with another key")
        elif (line.seq, line.hash) == self.expected_head:
            self.expected_head = None
        if found.lines == 1:
            found.first = line.seq
            if line.seq > 1:
                found.notes.append(f"the log begins with seq {line.seq}; the files before it are not here")
            elif line.prev != GENESIS:
                self._problem(place, "is the first, but does not say so")
        elif line.seq <= found.seq:
            late = self.missing.pop(line.seq, None)
            self._problem(place, f"(seq {line.seq}) {'is out of its order' if late else 'is there twice'}")
            return
        elif line.seq > found.seq + 1:
            for seq in range(found.seq + 1, min(line.seq, found.seq + 1001)):
                self.missing[seq] = self._at(place)
        elif line.prev != found.head:
            self._problem(place, f"(seq {line.seq}) does not follow from the line before it, which was exchanged")
        found.seq, found.head = line.seq, line.hash

    def _gaps(self) -> None:
        """Report what is missing, neighbours together."""
        runs: list[list[int]] = []
        for seq in sorted(self.missing):
            if runs and seq == runs[-1][-1] + 1:
                runs[-1].append(seq)
            else:
                runs.append([seq])
        for run in runs:
            which = f"seq {run[0]} is" if len(run) == 1 else f"seq {run[0]} to {run[-1]} are"
            self.found.problems.append(f"{which} missing before {self.missing[run[0]]}")

    def _at(self, place: Place) -> str:
        return f"{place.file}, line {place.number}"

    def _problem(self, place: Place, what: str) -> None:
        self.found.problems.append(f"{self._at(place)} {what}")
