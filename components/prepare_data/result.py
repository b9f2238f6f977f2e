"""What the step `prepare_data` returns."""

from typing import ClassVar

from pydantic import JsonValue

from slipway.components.step_runtime.step_result import ResultPart, StepResult


class RepeatedText(ResultPart):
    """A text that occurred more than once."""

    text: str
    """Its beginning."""
    count: int
    """How often it occurred."""


class NearDuplicate(ResultPart):
    """A text that was removed since it resembles one that was kept."""

    removed: str
    """Beginning of the removed text."""
    removed_label: str
    """Its label."""
    kept: str
    """Beginning of the kept text."""
    kept_label: str
    """Its label."""
    similarity: float
    """Jaccard similarity of the two, from 0 to 1."""


class Duplicates(ResultPart):
    """Examples of texts that were there more than once."""

    exact: list[RepeatedText]
    """Texts that occurred most often."""
    near: list[NearDuplicate]
    """Near duplicates, the least similar first."""
    near_with_other_label: list[NearDuplicate]
    """Those among them whose label is not that of the kept text."""
    near_with_other_label_count: int
    """How many of these there are in all."""


class Conflict(ResultPart):
    """A text that occurred with several labels."""

    text: str
    """Its beginning."""
    labels: dict[str, int]
    """Label to how often it had it."""
    kept: str
    """The label that it kept; empty where it was dropped."""


class Lengths(ResultPart):
    """Quantiles of the length of texts, in characters."""

    minimum: int
    """The shortest."""
    quarter: int
    """A quarter of the texts is at most this long."""
    median: int
    """Half of them."""
    three_quarters: int
    """Three quarters."""
    p95: int
    """95 of 100."""
    maximum: int
    """The longest."""


class LengthHistogram(ResultPart):
    """How many texts lie between each two neighbouring lengths."""

    edges: list[float]
    """Lengths in characters, one more than counts."""
    counts: list[int]
    """Texts."""


class PrepareDataResult(StepResult):
    """What was read, removed and kept."""

    step: ClassVar[str] = "prepare_data"

    source: str
    """The setting `data.source`."""
    parts: list[str] = []
    """Files that were read, the first 20."""
    rows_read: int
    """Rows of the source."""
    rows_kept: int
    """Texts of the dataset."""
    removed: dict[str, int]
    """Reason to how many rows were removed for it."""
    duplicates: Duplicates
    """Texts that were there more than once."""
    conflicts: list[Conflict]
    """Examples of texts with several labels."""
    conflicts_count: int
    """How many of these there are in all."""
    labels: list[str]
    """Names of the classes."""
    similar_labels: list[str]
    """Labels that differ from another in upper and lower case alone."""
    classes: dict[str, dict[str, int]]
    """Split to class to texts."""
    lengths: dict[str, Lengths]
    """Split to the lengths of its texts, of splits that have any."""
    length_histogram: LengthHistogram
    """Lengths of all texts."""
    examples: dict[str, list[str]]
    """Class to the beginnings of some of its texts."""
    digest: str
    """`sha256:…` over splits and labels."""
    digests: dict[str, str]
    """Split to `sha256:…` over its texts and labels."""
    settings: dict[str, JsonValue]
    """The settings of the step."""
