"""The format of an audit log: JSON lines that are chained by hashes, so that changes can be detected.

Each line has a number `seq`, the `hash` of the line before it as `prev`, and at its end its own `hash`: SHA-256 over
its bytes up to there or, with a key, HMAC-SHA256 (RFC 2104). Without a key, only someone who can rewrite the whole rest
of the log can hide a change; with a key, only someone who has the key. `verify` detects a missing end by a head that
was noted elsewhere (`slipway.serving.audit.heads`). It detects missing oldest files by the first line that is left: no
record says that a server removed the line before it.
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
"""Event of the line after a torn one, that is, one that a killed server left half written: has its size and SHA-256."""
REMOVED, THROUGH = "removed", "through"
"""Event of a server that removes its oldest files: names the last line in them."""
KEYED, UNKEYED = "keyed", "unkeyed_through"
"""Event of the first line with a key in a log that was begun without one: names the last line before it."""
CHANGED = "changed"
"""Event of a server whose log lacked, at its start, lines that had been noted elsewhere."""
_LOG_EVENT = re.compile(rb'"event":"(?:removed|changed)"')
"""Matches lines about the log itself. It is a quick check, so that not every line has to be decoded."""
_LINE = re.compile(rb'(\{"seq":(\d{1,18}),"prev":"([0-9a-f]{64})",.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


def digest(body: bytes, key: bytes | None) -> str:
    """The hash of a line's bytes up to `,"hash"`, in hexadecimal."""
    return hmac.new(key, body, "sha256").hexdigest() if key else hashlib.sha256(body).hexdigest()


@dataclass
class Chain:
    """The end of a log; makes the next lines."""

    key: bytes | None = None
    """Key of the HMAC; None for plain SHA-256."""
    seq: int = 0
    """Number of the last line; 0 for none."""
    head: str = GENESIS
    """Hash of the last line."""

    def line(self, record: dict[str, Any]) -> bytes:
        """The record as the next line, with its newline.

        Raises:
            TypeError: the record is not JSON, or not valid Unicode. The chain is not changed then.
        """
        body = orjson.dumps({"seq": self.seq + 1, "prev": self.head, **record})[:-1]
        self.seq += 1
        self.head = digest(body, self.key)
        return b'%b,"hash":"%b"}\n' % (body, self.head.encode())


@dataclass(frozen=True)
class Line:
    """The parts of a line. `hash` is over `body`: the bytes before it."""

    seq: int
    prev: str
    hash: str
    body: bytes

    def intact(self, key: bytes | None) -> bool:
        """Whether the hash is that of the content."""
        return hmac.compare_digest(digest(self.body, key), self.hash)

    def record(self) -> dict[str, Any]:
        """The content as JSON; empty if it is not JSON."""
        try:
            content: dict[str, Any] = json.loads(self.body + b"}")
        except ValueError:
            return {}
        return content


def parsed(raw: bytes) -> Line | None:
    """The parts of a line, given without its newline; None if it does not have the format of a line."""
    match = _LINE.fullmatch(raw)
    return Line(int(match[2]), match[3].decode(), match[4].decode(), match[1]) if match else None


@dataclass(frozen=True)
class Place:
    """A raw line, without its newline, and its position."""

    file: str
    number: int
    raw: bytes
    complete: bool = True
    """Whether it ends with a newline."""


@dataclass
class Verification:
    """The result of `verify`."""

    lines: int = 0
    """Number of lines."""
    first: int = 0
    """Number `seq` of the first line."""
    seq: int = 0
    """Number `seq` of the last line in the chain."""
    head: str = GENESIS
    """Hash of the last line in the chain."""
    problems: list[str] = field(default_factory=list)
    """Signs that the log was changed."""
    notes: list[str] = field(default_factory=list)
    """What is unusual, but not a sign of a change."""


Numbered = tuple[int, str]
"""Number and hash of a line."""


def verify(
    places: Iterable[Place], key: bytes | None = None, heads: Iterable[Numbered] = (), whole: bool = False
) -> Verification:
    """Verify the chain of one log, and report each line that does not fit.

    Args:
        places: the lines, in the order of the files.
        key: key of the HMAC; None for plain SHA-256.
        heads: lines that were noted elsewhere.
        whole: whether these are all lines in the server's folder. A part of a log may begin and end anywhere.
    """
    return _Walk(key, heads, whole).over(iter(places))


class _Walk:
    """One pass over the lines of a log. Some lines can be judged only by a later one, and wait for it here."""

    def __init__(self, key: bytes | None, heads: Iterable[Numbered], whole: bool) -> None:
        self.key, self.whole = key, whole
        self.heads: dict[int, set[str]] = {}
        for seq, value in heads:
            if seq:
                self.heads.setdefault(seq, set()).add(value)
        self.keyed = False
        """Whether a line with the key has come."""
        self.unkeyed: list[str] = []
        """Positions of the first and the last line without the key, before the first line with it."""
        self.before: Numbered = (0, GENESIS)
        """The line that the first line follows."""
        self.removed: set[Numbered] = set()
        """Lines that, by the log, were the last in removed files."""
        self.result = Verification()
        self.missing: dict[int, str] = {}
        """Skipped numbers, each with the position of the line after the gap. One that comes later is out of order."""
        self.torn: list[Place] = []
        """Lines without the format of a line, until the next line with it explains them."""

    def over(self, places: Iterator[Place]) -> Verification:
        for place in places:
            line = parsed(place.raw)
            if line is None:
                self.torn.append(place)
                continue
            self._judge_torn(line)
            self._line(place, line)
        self._judge_torn(None)
        self._judge_unkeyed(None)
        self._gaps()
        self._judge_beginning()
        self._judge_heads()
        return self.result

    def _judge_torn(self, line: Line | None) -> None:
        """Judge lines without the format of a line by the line after them, or by the end of the log."""
        if not self.torn:
            return
        torn, self.torn = self.torn, []
        record = line.record() if line else {}
        content = b"\n".join(place.raw for place in torn)
        if len(torn) > 1 or not self._begins_next(torn[0].raw):
            self.result.problems += [f"{self._at(place)} is not an audit line: altered" for place in torn]
        elif record.get("event") == RECOVERED and record.get("torn_sha256") == hashlib.sha256(content).hexdigest():
            self.result.notes.append(f"{self._at(torn[0])} is torn: the server was killed here and went on after it")
        elif line is None and not torn[-1].complete:
            self.result.notes.append(f"{self._at(torn[0])} is torn: the server was killed, or is writing it now")
        else:
            self.result.problems += [f"{self._at(place)} is not an audit line: altered" for place in torn]

    def _begins_next(self, torn: bytes) -> bool:
        """Whether a torn line can be the beginning of the chain's next line. A killed server leaves at most one."""
        if not self.result.lines and not self.whole:
            return torn.startswith(b'{"seq":')
        expected = b'{"seq":%d,"prev":"%b",' % (self.result.seq + 1, self.result.head.encode())
        return torn[: len(expected)] == expected[: len(torn)]

    def _judge_hash(self, place: Place, line: Line) -> None:
        """Check the hash of a line. In a log that got a key later, the lines before have hashes without the key."""
        if line.intact(self.key):
            if self.key and not self.keyed:
                self.keyed = True
                self._judge_unkeyed(line)
        elif self.key and not self.keyed and line.intact(None):
            self.unkeyed = [*self.unkeyed[:1], self._at(place)]
        else:
            self._problem(place, f"(seq {line.seq}) was altered, or written with another key")
        noted = self.heads.pop(line.seq, None)
        if noted and noted != {line.hash}:
            self._problem(place, f"(seq {line.seq}) is another one than was noted: its hash was {', '.join(noted)}")

    def _judge_unkeyed(self, line: Line | None) -> None:
        """Judge the lines without the key by the first line with it, which should name the last one without."""
        if not self.unkeyed:
            return
        confirmed = line and line.prev == self.result.head and line.record().get(UNKEYED) == self.result.seq
        lines = " to ".join(self.unkeyed)
        if confirmed:
            self.result.notes.append(f"{lines}: written before the log had a key")
        else:
            self.result.problems.append(f"{lines}: written without the key, by a server that has none or somebody else")
        self.unkeyed = []

    def _judge_beginning(self) -> None:
        """Check that the first line has number 1, or follows a line that a server removed."""
        result = self.result
        if result.first <= 1:
            return
        if self.before in self.removed:
            result.notes.append(f"the log begins with seq {result.first}; the server removed the files before it")
        elif self.whole:
            result.problems.append(
                f"the log begins with seq {result.first}, and no line says that a server removed the files before it"
            )
        else:
            result.notes.append(f"the log begins with seq {result.first}; the files before it are not here")

    def _judge_heads(self) -> None:
        """Report noted lines that are missing. Those before the first line were judged by `_judge_beginning`."""
        result = self.result
        beyond = [seq for seq in self.heads if seq > result.seq]
        if beyond:
            end = f"the log ends with seq {result.seq}, but seq {max(beyond)} was noted"
            result.problems.append(f"{end}: its end is missing, or the whole")
        lost = sorted(seq for seq in self.heads if result.first <= seq <= result.seq)
        result.problems += [f"seq {seq} was noted and is not there" for seq in lost]

    def _judge_event(self, place: Place, line: Line) -> None:
        """Use the events by which a server describes its log."""
        record = line.record() if _LOG_EVENT.search(line.body) else {}
        if record.get("event") == REMOVED:
            self.removed.add((int(record[THROUGH][0]), str(record[THROUGH][1])))
        elif record.get("event") == CHANGED:
            self._problem(place, f"is of a server that missed seq {record.get('missing')} of the log when it started")

    def _line(self, place: Place, line: Line) -> None:
        result = self.result
        result.lines += 1
        self._judge_hash(place, line)
        self._judge_event(place, line)
        if result.lines == 1:
            result.first, self.before = line.seq, (line.seq - 1, line.prev)
            if line.seq == 1 and line.prev != GENESIS:
                self._problem(place, "is the first, but does not say so")
        elif line.seq <= result.seq:
            was_missing = self.missing.pop(line.seq, None)
            self._problem(place, f"(seq {line.seq}) {'is out of its order' if was_missing else 'is there twice'}")
            return
        elif line.seq > result.seq + 1:
            for seq in range(result.seq + 1, min(line.seq, result.seq + 1001)):  # a forged number may be any
                self.missing[seq] = self._at(place)
        elif line.prev != result.head:
            self._problem(place, f"(seq {line.seq}) does not follow from the line before it, which was exchanged")
        result.seq, result.head = line.seq, line.hash

    def _gaps(self) -> None:
        """Report the missing numbers, consecutive ones as one range."""
        runs: list[list[int]] = []
        for seq in sorted(self.missing):
            if runs and seq == runs[-1][-1] + 1:
                runs[-1].append(seq)
            else:
                runs.append([seq])
        for run in runs:
            numbers = f"seq {run[0]} is" if len(run) == 1 else f"seq {run[0]} to {run[-1]} are"
            self.result.problems.append(f"{numbers} missing before {self.missing[run[0]]}")

    def _at(self, place: Place) -> str:
        return f"{place.file}, line {place.number}"

    def _problem(self, place: Place, what: str) -> None:
        self.result.problems.append(f"{self._at(place)} {what}")
