"""The version of the form in which something is kept: a whole number, `format`, in each JSON document of ours.

It is raised when a Slipway that knows the number before would take the document wrongly. What has been added since,
and can be left out, does not raise it. A document without a number has the format 1.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.components.errors import BadInput

KEY = "format"


def check(what: str | Path, document: Any, newest: int) -> None:
    """Refuse a document that a later Slipway wrote. To be called first: a later form has fields that are unknown here.

    Args:
        what: names it in the message.
        document: its content, as JSON or read from that; one that is damaged passes, for its reader to refuse.
        newest: the newest format that is known here.

    Raises:
        BadInput: it has a newer one.
    """
    if isinstance(document, bytes | str):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            return
    found = document.get(KEY, 1) if isinstance(document, Mapping) else 1
    if isinstance(found, int):
        check_number(what, found, newest)


def check_number(what: str | Path, found: int, newest: int) -> None:
    """As `check`, for a document that says its format in another way."""
    if found > newest:
        raise BadInput(f"{what} has format {found}; this Slipway reads up to {newest}: upgrade Slipway")
