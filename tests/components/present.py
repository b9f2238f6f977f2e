"""What a test relies on being there."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value; a test fails here when there is none."""
    assert value is not None
    return value
