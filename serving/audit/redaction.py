"""Takes out of a text what names a person or an account, by its form.

Patterns see forms, not meaning: names and addresses stay, and a long order number is taken for a telephone number.
Each is bounded, so that the time is linear in the text.
"""

import re

LONGEST = 320
"""Characters of the longest e-mail address (RFC 5321 and its erratum 1690: 64 + 1 + 255)."""
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
        text: as it came.
        characters: of the result at most; what is cut off in the middle of a number leaves nothing of it behind.
    """
    cut = len(text) > characters + LONGEST
    text = text[: characters + LONGEST]
    for name, pattern in PATTERNS:
        text = pattern.sub(f"[{name}]", text)
    return (text[:-LONGEST] if cut else text)[:characters]
