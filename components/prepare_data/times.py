"""Reads the values of a column of times: dates of ISO 8601, years, or seconds since 1970."""

import datetime
import re
from collections.abc import Sequence

from slipway.components.errors import BadInput

DATE, YEAR, SECONDS = "a date", "a year", "a number of seconds since 1970"
_MONTH = re.compile(r"\d{4}-\d{2}")
_YEAR = re.compile(r"\d{4}")
_COMPACT = re.compile(r"\d{8}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
EXPECTED = (
    "a date as 2026-03-31 or 2026-03-31T12:00:00Z, a year, or seconds since 1970 (divide milliseconds by 1000), and "
    "the same kind in all rows"
)


def seconds_of(values: Sequence[str | None], source: str, column: str) -> list[float]:
    """The time of each row in seconds since 1970. A time without zone is one of UTC; None has the time 0.

    Args:
        values: of the column, one for each row; None for rows whose time does not matter.
        source: where they are from, for the message.
        column: their name, for the message.

    Raises:
        BadInput: a value is no time, or of another kind than the first one. The message names the value and its row.
    """
    seconds: list[float] = []
    first = ("", 0, "")
    for row, value in enumerate(values, start=1):
        if value is None:
            seconds.append(0.0)
            continue
        where = f"row {row} of {source} (without head lines) has {value!r} in column {column!r}, the data.time_column"
        try:
            kind, time = _read(value)
            told(time)
        except (ValueError, OverflowError, OSError):
            raise BadInput(f"{where}; expected {EXPECTED}") from None
        first = first if first[0] else (kind, row, value)
        if kind != first[0]:
            raise BadInput(
                f"{where}, which is {kind}, but row {first[1]} has {first[2]!r}, {first[0]}; expected {EXPECTED}"
            )
        seconds.append(time)
    return seconds


def told(seconds: float) -> str:
    """A time as people and ISO 8601 write it, in UTC; of a midnight the date alone."""
    time = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None)
    return time.date().isoformat() if time.time() == datetime.time() else time.isoformat(timespec="seconds")


def _read(value: str) -> tuple[str, float]:
    """Kind and time of a value."""
    if _NUMBER.fullmatch(value) and not _YEAR.fullmatch(value) and not _COMPACT.fullmatch(value):
        return SECONDS, float(value)
    kind, text = DATE, value
    if _YEAR.fullmatch(value):
        kind, text = YEAR, f"{value}-01-01"
    elif _MONTH.fullmatch(value):
        text = f"{value}-01"
    time = datetime.datetime.fromisoformat(text)
    return kind, (time if time.tzinfo else time.replace(tzinfo=datetime.UTC)).timestamp()
