"""Reads the characters of a text file: unpacks gzip, finds the encoding, and names what is wrong."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.components.errors import BadInput

AUTO = "auto"
GZIP = b"\x1f\x8b"
HEAD = 4096
"""Bytes by which an encoding without byte order mark is guessed."""

MARKS = (  # UTF-32 first: its mark in little-endian order begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encodings that read them and take the byte order from them."""

NO_TEXT = {
    b"PK\x03\x04": "a zip archive or a spreadsheet (.xlsx); unpack it, or save the table as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls); save the table as CSV in UTF-8",
    b"BZh": "compressed with bzip2; unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz; unpack it, or compress it with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it, or compress it with gzip",
    b"PAR1": "a Parquet file; set data.format=parquet",
}
"""How files begin that hold no text, and what they are."""


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed with gzip, whatever its name is."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked if they are compressed with gzip.

    Raises:
        BadInput: the compressed file is damaged.
    """
    with _bytes(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = AUTO) -> str:
    """The characters of a whole file, without a byte order mark.

    Args:
        path: of the file, which may be compressed with gzip.
        encoding: a name that Python knows; `auto` for that of the byte order mark, or else UTF-8.

    Raises:
        BadInput: the file is empty, holds no text, is damaged, or has another encoding.
    """
    whole = content(path)
    name = _encoding(path, whole[:HEAD], encoding)
    try:
        text = whole.decode(name)
    except UnicodeDecodeError as error:
        raise BadInput(_not_decodable(path, whole, error, encoding)) from None
    if not text.strip():
        raise BadInput(f"{path} is empty; give a file with labelled texts")
    return text.removeprefix("\ufeff")


@contextmanager
def opened(path: Path, encoding: str = AUTO) -> Iterator[io.TextIOWrapper]:
    """A text file to read its beginning from, with the line ends that it has; arguments and errors as `read_text`.

    A character that cannot be decoded is a UnicodeDecodeError of the reader.
    """
    with _bytes(path) as file:
        name = _encoding(path, file.peek(HEAD)[:HEAD], encoding)
        with io.TextIOWrapper(file, encoding="utf-8-sig" if name == "utf-8" else name, newline="") as text:
            yield text


@contextmanager
def _bytes(path: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """The file, unpacked if it is compressed with gzip. Damage that shows while it is read is BadInput."""
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            yield file
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadInput(f"{path} is compressed with gzip and damaged ({error}); compress it again") from None


def _encoding(path: Path, head: bytes, chosen: str) -> str:
    """The encoding of a file that begins with `head`. Raises BadInput if that holds no text."""
    for beginning, what in NO_TEXT.items():
        if head.startswith(beginning):
            raise BadInput(f"{path} is {what}")
    if chosen != AUTO:
        return chosen
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    if likely := _utf_16(head):
        raise BadInput(
            f"{path} looks like UTF-16 without a byte order mark (it has zero bytes); set data.encoding={likely}"
        )
    return "utf-8"


def _utf_16(head: bytes) -> str:
    """The byte order of text in UTF-16, by where its zero bytes are; empty if there are few."""
    zeros = {"utf-16-le": head[1::2].count(0), "utf-16-be": head[0::2].count(0)}
    likely = max(zeros, key=lambda name: zeros[name])
    return likely if zeros[likely] > len(head) / 10 else ""


def _not_decodable(path: Path, whole: bytes, error: UnicodeDecodeError, chosen: str) -> str:
    byte, line = whole[error.start], whole.count(b"\n", 0, error.start) + 1
    if chosen != AUTO:
        return (
            f"{path} is not {chosen}: byte 0x{byte:02x} at offset {error.start} (line {line}); set data.encoding to "
            "the encoding that it was written in"
        )
    return (
        f"{path} is not UTF-8: byte 0x{byte:02x} at offset {error.start} (line {line}); set data.encoding to its "
        "encoding (programs for Windows often write windows-1252), or convert it"
    )
