"""Reads the values of cells as text, so that one value has one reading in CSV, JSONL and Parquet.

A whole number has no decimals (`3`, not `3.0`), a boolean is `true` or `false`, a date has the form of ISO 8601, and a
missing value is the empty text.
"""

import datetime
import math
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from slipway.components.errors import BadInput

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
"""A number as programs write it. A code with leading zeros, such as `007`, is none."""

MOST_DIGITS = 30
"""A number with a greater exponent keeps its spelling, which is shorter."""

BOOLEANS = {"true", "false"}


def as_text(value: Any, where: str) -> str:
    """A cell as text; empty for a missing value.

    Raises:
        BadInput: the cell holds a list, an object or bytes.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal):
        return number(str(value))
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise BadInput(f"{where} holds a {type(value).__name__}, expected text or a number; choose another column")


def number(written: str) -> str:
    """The one spelling of a number: without exponent, and without zeros at the end of its decimals."""
    try:
        value = Decimal(written)
    except InvalidOperation:
        return written
    if not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS:
        return written
    plain = f"{value:f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def typed(cells: Sequence[str]) -> list[str]:
    """The cells of a column of CSV, which has no types, with the readings that the other formats have.

    The column holds numbers or booleans if every cell that is not empty is written like one. If two cells spell one
    number differently, they are names (versions `3.1` and `3.10`) and stay as they are.
    """
    distinct = {cell for cell in cells if cell}
    if not distinct:
        return list(cells)
    if all(cell.lower() in BOOLEANS for cell in distinct):
        return [cell.lower() for cell in cells]
    if not all(NUMBER.fullmatch(cell) for cell in distinct):
        return list(cells)
    readings = {cell: number(cell) for cell in distinct} | {"": ""}
    if len(set(readings.values())) < len(readings):
        return list(cells)
    return [readings[cell] for cell in cells]
