"""The destinations of an audit log: numbered files in a folder of its own, or the standard output."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from slipway.components.errors import BadInput
from slipway.components.machine import file_lock, whole_file
from slipway.serving.audit.chain import GENESIS, KEYED, RECOVERED, REMOVED, THROUGH, UNKEYED, Chain, Line, Place, parsed
from slipway.serving.audit.heads import Head

LOCK_S = 3.0
"""How long to wait for the lock of the folder, which a server that is ending may still hold."""
_NAME = re.compile(r"audit-(\d{6})\.jsonl")


def audit_files(folder: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def places(files: list[Path]) -> Iterator[Place]:
    """All lines of the files, in order."""
    for path in files:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                yield Place(path.name, number, raw.rstrip(b"\n"), raw.endswith(b"\n"))


class FolderSink:
    """Appends to the newest file in a folder, and begins the next one when it is full.

    Args:
        folder: the folder, which is made if it does not exist. No other process may write to it.
        file_bytes: size at which a new file is begun.
        keep: number of files to keep; 0 keeps all.

    Raises:
        BadInput: the folder cannot be written, or another server writes to it.
    """

    def __init__(self, folder: Path, file_bytes: int, keep: int = 0) -> None:
        self.folder = folder
        self.file_bytes = file_bytes
        self.keep = keep
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = file_lock.take(folder / ".lock", LOCK_S)
        except file_lock.Held as error:
            raise BadInput(f"another server writes its audit log to {folder}; give each a folder of its own") from error
        except OSError as error:
            raise BadInput(f"the audit log cannot be written to {folder}: {error.strerror}") from error

    def open(self, chain: Chain) -> dict[str, Any] | None:
        """Continue at the end of the newest file.

        Args:
            chain: is set to the last complete line in the files.

        Returns:
            a record that names a line that was left half written, or the last line without a key; else None.

        Raises:
            OSError: the file cannot be read or written.
        """
        self.close()
        chain.seq, chain.head = 0, GENESIS
        files = audit_files(self.folder)
        torn = content = b""
        line: Line | None = None
        for path in reversed(files):
            content = path.read_bytes()
            line, torn = _last_line(content)
            if line:
                chain.seq, chain.head = line.seq, line.hash
                break
        self._file = self._append_to(files[-1] if files else self.folder / "audit-000001.jsonl")
        if torn or content[-1:] not in (b"", b"\n"):
            self._file.write(b"\n")
        unkeyed = {}
        if line and chain.key and not line.intact(chain.key) and line.intact(None):
            unkeyed = {UNKEYED: line.seq}
        if not torn:
            return {"event": KEYED, **unkeyed} if unkeyed else None
        digest = hashlib.sha256(torn).hexdigest()
        return {"event": RECOVERED, "torn_bytes": len(torn), "torn_sha256": digest, **unkeyed}

    @property
    def name(self) -> str:
        """Name of the file that is written; empty before `open`."""
        return Path(str(self._file.name)).name if self._file else ""

    def has(self, head: Head) -> bool:
        """Whether the log contains a line. The newest files are searched first, since notes are about recent lines."""
        line_end = b',"hash":"%b"}' % head.hash.encode()
        for path in reversed(audit_files(self.folder)):
            content = path.read_bytes()
            if (position := content.find(line_end)) >= 0:
                line = parsed(content[content.rfind(b"\n", 0, position) + 1 : position + len(line_end)])
                return line is not None and line.seq == head.seq
        return False

    def outdated(self) -> dict[str, Any] | None:
        """A record to write before `remove`: it names the last line of the files that will be removed."""
        for path in reversed(self._outdated()):
            line, _ = _last_line(path.read_bytes())
            if line:
                return {"event": REMOVED, THROUGH: [line.seq, line.hash]}
        return None

    def remove(self) -> None:
        """Remove the oldest files, beyond the number to keep."""
        for path in self._outdated():
            path.unlink()

    def _outdated(self) -> list[Path]:
        return audit_files(self.folder)[: -self.keep] if self.keep else []

    @staticmethod
    def _append_to(path: Path) -> IO[bytes]:
        return open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600))

    def write(self, lines: bytes) -> bool:
        """Append whole lines and sync them to the disk; returns whether a new file was begun after them.

        Raises:
            OSError: not all lines were written; `open` finds out which ones were.
        """
        self.append(lines)
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size < self.file_bytes:
            return False
        self._next_file()
        return True

    def append(self, lines: bytes) -> None:
        """Append whole lines and sync them, whatever the size of the file. Raises OSError as `write` does."""
        assert self._file is not None
        written = self._file.write(lines)
        if written != len(lines):
            raise OSError(f"{written} of {len(lines)} bytes were written")
        os.fsync(self._file.fileno())

    def _next_file(self) -> None:
        files = audit_files(self.folder)
        number = int(_NAME.fullmatch(files[-1].name)[1]) + 1  # type: ignore[index]
        self.close()
        self._file = self._append_to(self.folder / f"audit-{number:06d}.jsonl")
        whole_file.sync(self.folder)  # so that the name of the new file survives a power failure

    def close(self) -> None:
        """Close the file. The folder stays locked until the process ends."""
        if self._file:
            self._file.close()
            self._file = None


def _last_line(content: bytes) -> tuple[Line | None, bytes]:
    """The last complete line of a file, and the bytes after it, which a killed server left half written."""
    end = content.rfind(b"\n")
    if line := parsed(content[end + 1 :]):
        return line, b""  # the line is complete, and lacks only its newline
    while end >= 0:
        start = content.rfind(b"\n", 0, end) + 1
        if line := parsed(content[start:end]):
            return line, content[end + 1 :]
        end = start - 1
    return None, content


class StreamSink:
    """Writes to the standard output, which the platform's log collector keeps. Each process begins a new chain.

    Args:
        stream: binary stream of the standard output.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = getattr(stream, "raw", stream)  # a buffer would write bytes again after a failure
        self._rest = b""
        """The rest of a line that was written in part."""
        self._last: Line | None = None
        """The last line that was written, at least in part."""

    def open(self, chain: Chain) -> None:
        """Continue after the last line; called again after a failure."""
        if self._last:
            chain.seq, chain.head = self._last.seq, self._last.hash

    def write(self, lines: bytes) -> bool:
        """Append whole lines.

        Raises:
            OSError: not all lines were written; `open` continues after those that were.
        """
        data, sent = self._rest + lines, 0
        try:
            while sent < len(data):
                written = self._stream.write(memoryview(data)[sent:])
                if written is None:
                    raise BlockingIOError("the standard output takes no more")
                sent += written
        finally:
            # A line of which some bytes were sent counts as written. Its rest is sent first the next time, so that no
            # line in the stream is broken.
            begun = data.find(b"\n", max(sent - 1, 0)) + 1 if sent else len(self._rest)
            self._rest = data[sent:begun]
            self._last = parsed(data[:begun].rstrip(b"\n").rpartition(b"\n")[2]) or self._last
        return False

    name = ""
    """Empty, since there is no file."""

    def has(self, head: Head) -> bool:  # noqa: ARG002 (the platform has the lines that were written)
        """Always True, since earlier lines cannot be read."""
        return True

    def append(self, lines: bytes) -> None:
        """Append whole lines; the same as `write`."""
        self.write(lines)

    def outdated(self) -> None:
        """Does nothing, since the platform keeps the lines."""

    def remove(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing: the stream stays open."""
