"""The form of an audit log: JSON lines that are chained by hashes, so that a change shows.

Each line has a number `seq`, the `hash` of the line before it in `prev`, and last its own `hash`: SHA-256 over its
bytes up to there or, with a key, HMAC-SHA256 (RFC 2104). Without a key only someone who can rewrite the whole rest of
the log can hide a change; with one, only someone who has the key. A shortened end shows against a head that was noted
elsewhere (`slipway.serving.audit.heads`), and missing oldest files by the first line: it follows from none that was
removed.
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
REMOVED, THROUGH = "removed", "through"
"""Event of the line that names the last line of the files which the server removes, since only so many are kept."""
KEYED, UNKEYED = "keyed", "unkeyed_through"
"""Event of the first line with a key in a log that was begun without one; it names the last line before it."""
CHANGED = "changed"
"""Event of a server that started and did not find in the log what had been noted elsewhere."""
_TELLING = re.compile(rb'"event":"(?:removed|changed)"')
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


Numbered = tuple[int, str]
"""Number and hash of a line."""


def verify(
    places: Iterable[Place], key: bytes | None = None, heads: Iterable[Numbered] = (), whole: bool = False
) -> Verification:
    """Walk over the lines of one log, in the order of its files, and name each that does not fit.

    Args:
        places: all lines.
        key: of the HMAC; None for plain SHA-256.
        heads: of lines that were noted elsewhere.
        whole: whether these are all lines that the server kept, not a part that somebody else kept.
    """
    return _Walk(key, heads, whole).over(iter(places))


class _Walk:
    def __init__(self, key: bytes | None, heads: Iterable[Numbered], whole: bool) -> None:
        self.key, self.whole = key, whole
        self.heads: dict[int, set[str]] = {}
        for seq, value in heads:
            if seq:
                self.heads.setdefault(seq, set()).add(value)
        self.keyed = False
        """Whether a line with the key was there."""
        self.unkeyed: list[str] = []
        """Where the lines before it are."""
        self.before: Numbered = (0, GENESIS)
        """The line before the first."""
        self.removed: set[Numbered] = set()
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
        self._judge_unkeyed(None)
        self._gaps()
        self._judge_beginning()
        self._judge_heads()
        return self.found

    def _judge_torn(self, line: Line | None) -> None:
        """Judge lines without form by the one after them, or by the end."""
        if not self.torn:
            return
        torn, self.torn = self.torn, []
        record = line.record() if line else {}
        content = b"\n".join(place.raw for place in torn)
        if len(torn) > 1 or not self._begins_next(torn[0].raw):
            self.found.problems += [f"{self._at(place)} is not an audit line: altered" for place in torn]
        elif record.get("event") == RECOVERED and record.get("torn_sha256") == hashlib.sha256(content).hexdigest():
            self.found.notes.append(f"{self._at(torn[0])} is torn: the server was killed here and went on after it")
        elif line is None and not torn[-1].complete:
            self.found.notes.append(f"{self._at(torn[0])} is torn: the server was killed, or is writing it now")
        else:
            self.found.problems += [f"{self._at(place)} is not an audit line: altered" for place in torn]

    def _begins_next(self, torn: bytes) -> bool:
        """Whether a line without form can be the beginning of the next: a killed server leaves one such, no more."""
        if not self.found.lines and not self.whole:
            return torn.startswith(b'{"seq":')
        expected = b'{"seq":%d,"prev":"%b",' % (self.found.seq + 1, self.found.head.encode())
        return torn[: len(expected)] == expected[: len(torn)]

    def _judge_hash(self, place: Place, line: Line) -> None:
        """See that a line's hash fits; of a log that got a key later, the lines before it have none."""
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
        """Judge the lines without the key by the first one that has it."""
        if not self.unkeyed:
            return
        known = line and line.prev == self.found.head and line.record().get(UNKEYED) == self.found.seq
        which = " to ".join(self.unkeyed)
        if known:
            self.found.notes.append(f"{which}: written before the log had a key")
        else:
            self.found.problems.append(f"{which}: written without the key, by a server that has none or somebody else")
        self.unkeyed = []

    def _judge_beginning(self) -> None:
        """The first line follows from none, or from one that the server removed."""
        found = self.found
        if found.first <= 1:
            return
        if self.before in self.removed:
            found.notes.append(f"the log begins with seq {found.first}; the server removed the files before it")
        elif self.whole:
            found.problems.append(
                f"the log begins with seq {found.first}, and no line says that a server removed the files before it"
            )
        else:
            found.notes.append(f"the log begins with seq {found.first}; the files before it are not here")

    def _judge_heads(self) -> None:
        """What was noted elsewhere and is not there; what is older than the first line was judged with that."""
        found = self.found
        beyond = [seq for seq in self.heads if seq > found.seq]
        if beyond:
            end = f"the log ends with seq {found.seq}, but seq {max(beyond)} was noted"
            found.problems.append(f"{end}: its end is missing, or the whole")
        lost = sorted(seq for seq in self.heads if found.first <= seq <= found.seq)
        found.problems += [f"seq {seq} was noted and is not there" for seq in lost]

    def _judge_event(self, place: Place, line: Line) -> None:
        """Take what the server itself says of its log."""
        record = line.record() if _TELLING.search(line.body) else {}
        if record.get("event") == REMOVED:
            self.removed.add((int(record[THROUGH][0]), str(record[THROUGH][1])))
        elif record.get("event") == CHANGED:
            self._problem(place, f"is of a server that missed seq {record.get('missing')} of the log when it started")

    def _line(self, place: Place, line: Line) -> None:
        found = self.found
        found.lines += 1
        self._judge_hash(place, line)
        self._judge_event(place, line)
        if found.lines == 1:
            found.first, self.before = line.seq, (line.seq - 1, line.prev)
            if line.seq == 1 and line.prev != GENESIS:
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
