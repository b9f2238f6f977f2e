"""Redacts texts for the audit log: e-mail addresses, IBANs, card and telephone numbers.

Patterns match forms, not meaning: names and postal addresses stay, and a long order number is taken for a telephone
number. Every repetition in them is bounded, so that the time is linear in the length of the text.
"""

import re

LONGEST = 320
"""Most characters of an e-mail address, the longest of the forms (RFC 5321, section 4.5.3.1: 64 + 1 + 255)."""
PATTERNS = (
    ("email", re.compile(r"[\w.%+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")),
    # ISO 13616: country, two check digits, up to 30 letters and digits, often in groups of four
    ("iban", re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?\b")),
    ("card", re.compile(r"(?<!\d)\d(?:[ .-]?\d){12,18}(?!\d)")),  # ISO/IEC 7812: up to 19 digits
    ("phone", re.compile(r"(?<!\d)\+?\(?\d(?:[ ./()-]{0,3}\d){6,14}(?!\d)")),  # E.164: at most 15 digits
)


def redacted(text: str, characters: int) -> str:
    """The text without e-mail addresses, IBANs, card and telephone numbers, cut to a length.

    Args:
        text: the text of a request.
        characters: most characters of the result. A number that the cut falls into is redacted as a whole.
    """
    # The patterns see LONGEST characters beyond the cut, so that they match a number that begins before it.
    cut = len(text) > characters + LONGEST
    text = text[: characters + LONGEST]
    for name, pattern in PATTERNS:
        text = pattern.sub(f"[{name}]", text)
    return (text[:-LONGEST] if cut else text)[:characters]
