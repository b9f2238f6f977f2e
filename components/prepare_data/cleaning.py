"""Clean one text: Unicode normal form C, no control characters, single spaces. Case and wording stay as they are."""

import html
import unicodedata

REMOVED_CATEGORIES = {"Cc", "Cf", "Cs"}
"""Control characters, invisible format characters and lone surrogates."""

JOINERS = {"\u200c", "\u200d"}
"""Invisible characters that are kept, since they join emoji and are part of Persian and Indic spelling."""


def clean(text: str, unescape_html: bool = False) -> str:
    """Clean one text; the result may be empty.

    White space of any kind and length becomes one space, so that a text is one line.

    Args:
        text: to be cleaned.
        unescape_html: whether HTML entities such as `&amp;` become characters.
    """
    if unescape_html:
        text = html.unescape(text)
    text = " ".join(text.split())
    if not text.isascii() or not text.isprintable():
        text = "".join(c for c in text if c in JOINERS or unicodedata.category(c) not in REMOVED_CATEGORIES)
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())
