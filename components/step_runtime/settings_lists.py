"""Settings that are lists: each item changes some values of a section, and may have a name."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

NAME = "name"


def changes_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """What the item changes: all of it but its name."""
    return {key: value for key, value in item.items() if key != NAME}


def check_key(item: str, key: str, variable: Sequence[str]) -> None:
    """See that an item may have a key.

    Args:
        item: how the message calls the item.
        key: of the item.
        variable: the settings that items may change.

    Raises:
        ValueError: it may not; the message lists near keys, or all of them.
    """
    known = [NAME, *variable]
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"{item}: {key} is unknown; {hint}")


def check_names(kind: str, names: Sequence[str]) -> None:
    """See that no two items have the same name.

    Raises:
        ValueError: two have.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{kind} need different names, but there are several {', '.join(sorted(twice))}")


def problems(error: ValidationError) -> str:
    """What is wrong with the values of an item, in one line."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}={problem['input']!r}: {problem['msg']}" for problem in error.errors()
    )
