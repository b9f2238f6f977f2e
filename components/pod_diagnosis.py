"""Stand-in until the branch with the real one is merged."""

from typing import NamedTuple


class Diagnosis(NamedTuple):
    task: str
    cause: str
    lines: list[str]
    pod: str
