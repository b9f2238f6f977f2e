"""Normalises texts: for training by prepare_data, and for requests by the model server, so that both see the same.

Unicode normal form C, no control characters, single spaces. Case and wording stay as they are. A bundle names the
normalisation of its training texts. To normalise a text twice changes nothing more, so texts of a dataset may be sent
to a server. A name stands for one behaviour for ever; a change gets a new name.
"""

import html
import re
import unicodedata
from collections.abc import Callable
from functools import partial
from typing import Literal

Normalisation = Literal["", "clean-1", "clean-html-1"]
"""`clean-1` is `clean`, `clean-html-1` resolves HTML entities before. The empty name leaves texts as they are: that of
bundles of earlier releases, which do not say what was done to their training texts."""

REMOVED_CATEGORIES = {"Cc", "Cf", "Cs"}
"""Control characters, invisible format characters and lone surrogates."""

JOINERS = {"\u200c", "\u200d"}
"""Invisible characters that are kept, since they join emoji and are part of Persian and Indic spelling."""

ESCAPED_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#38|#[xX]26);)+")
"""An ampersand that was escaped once or many times. Each time would take another pass over the text."""

PASSES = 5
"""Most passes by which entities are resolved; more would only be needed for a text that was made to need them."""


def name_of(unescape_html: bool) -> Normalisation:
    """The normalisation that `clean` applies."""
    return "clean-html-1" if unescape_html else "clean-1"


def normaliser(name: Normalisation) -> Callable[[str], str]:
    """The function that normalises one text."""
    return partial(clean, unescape_html=name == "clean-html-1") if name else str


def clean(text: str, unescape_html: bool = False) -> str:
    """Clean one text; the result may be empty.

    White space of any kind and length becomes one space, so that a text is one line.

    Args:
        text: to be cleaned.
        unescape_html: whether HTML entities such as `&amp;` become characters.
    """
    if not unescape_html or "&" not in text:
        return _clean(text)
    for _ in range(PASSES):  # `&amp;lt;` is `&lt;` after one, and a removed character may have parted an entity
        cleaned = _clean(html.unescape(ESCAPED_AMPERSANDS.sub("&", text)))
        if cleaned == text:
            break
        text = cleaned
    return text


def _clean(text: str) -> str:
    text = " ".join(text.split())
    if not text.isascii() or not text.isprintable():
        text = "".join(c for c in text if c in JOINERS or unicodedata.category(c) not in REMOVED_CATEGORIES)
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())
