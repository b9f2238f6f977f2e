"""Settings that are lists: each item changes some values of a section, and may have a name."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

NAME = "name"


def changes_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that an item changes: all its keys but the name."""
    return {key: value for key, value in item.items() if key != NAME}


def check_key(item: str, key: str, variable: Sequence[str]) -> None:
    """Check that an item may have a key.

    Args:
        item: name of the item for the message.
        key: of the item.
        variable: names of the settings that items may change.

    Raises:
        ValueError: it may not. The message lists similar keys, or else all keys.
    """
    known = [NAME, *variable]
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"{item}: {key} is unknown; {hint}")


def check_names(kind: str, names: Sequence[str]) -> None:
    """Check that no two items have the same name.

    Args:
        kind: of the items, for the message.
        names: of the items.

    Raises:
        ValueError: two items have the same name.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{kind} need different names, but there are several {', '.join(sorted(twice))}")


def problems(error: ValidationError) -> str:
    """The problems with the values of an item, in one line."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}={problem['input']!r}: {problem['msg']}" for problem in error.errors()
    )
