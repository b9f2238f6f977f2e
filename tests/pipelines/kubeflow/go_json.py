"""JSON as Go's encoding/json writes it, since the sizes of its strings are what counts."""

import json
from typing import Any


def _numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if isinstance(value, dict):
        return {str(key): _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(inner) for inner in value]
    return value


def go_json(value: Any, escape_html: bool = True) -> str:
    """Write a value as json.Marshal does: keys sorted, no blanks, and `<`, `>` and `&` as six characters each.

    Args:
        value: of strings, numbers, lists and dictionaries.
        escape_html: off for what protojson writes.
    """
    text = json.dumps(_numbers(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    if escape_html:
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text
