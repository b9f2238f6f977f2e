"""The result of the step `prepare_data`."""

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
    """A text that was removed since it is nearly the same as a text that was kept."""

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
    """Examples of texts that occurred more than once, or nearly so."""

    exact: list[RepeatedText]
    """Texts that occurred most often."""
    near: list[NearDuplicate]
    """Near duplicates, the least similar first."""
    near_with_other_label: list[NearDuplicate]
    """Near duplicates whose label is not that of the kept text."""
    near_with_other_label_count: int
    """Number of all near duplicates with another label."""


class Conflict(ResultPart):
    """A text that occurred with several labels."""

    text: str
    """Its beginning."""
    labels: dict[str, int]
    """Label to how often the text had it."""
    kept: str
    """The label that was kept; empty when the text was dropped."""


class SuspiciousLabel(ResultPart):
    """A text whose label is probably wrong."""

    text: str
    """Its beginning."""
    label: str
    """The label that it has."""
    suggested: str
    """The label that it probably should have."""
    margin: float
    """How much more probable the suggested label is, from -1 to 1."""


class LabelNoise(ResultPart):
    """Labels that are probably wrong, by confident learning with a quick model."""

    texts: int
    """Number of texts that were searched."""
    accuracy: float
    """How often the quick model gives a text, which it was not trained on, the label that it has. With a low value,
    many suspicions are the model's mistakes.
    """
    share: float
    """Estimated share of labels that are wrong, or of classes that the quick model cannot tell apart."""
    classes: dict[str, float]
    """Class to this share among its texts."""
    suspicious_count: int
    """Number of suspicious texts."""
    suspicious: list[SuspiciousLabel]
    """The most suspicious texts, the most suspicious first."""


class Lengths(ResultPart):
    """Quantiles of the length of texts, in characters."""

    minimum: int
    """Length of the shortest text."""
    quarter: int
    """A quarter of the texts is at most this long."""
    median: int
    """Half of the texts are at most this long."""
    three_quarters: int
    """Three quarters of the texts are at most this long."""
    p95: int
    """95 % of the texts are at most this long."""
    maximum: int
    """Length of the longest text."""


class LengthHistogram(ResultPart):
    """Numbers of texts between neighbouring lengths."""

    edges: list[float]
    """Lengths in characters; one more than counts."""
    counts: list[int]
    """Number of texts between each length and the next."""


class TokenLengths(ResultPart):
    """Lengths of the texts in the tokens of the encoder."""

    encoder: str
    """The encoder."""
    max_length: int
    """Tokens after which texts are cut."""
    p99: int
    """99 % of the training texts have at most so many."""
    longest: int
    """Tokens of the longest text of all splits."""
    cut: dict[str, int]
    """Split to the number of its texts that are longer than max_length."""


class PrepareDataResult(StepResult):
    """What was read, removed and kept."""

    step: ClassVar[str] = "prepare_data"

    source: str
    """The setting `data.source`."""
    parts: list[str] = []
    """Files that were read, the first 20."""
    rows_read: int
    """Number of rows of the source."""
    rows_kept: int
    """Number of texts of the dataset."""
    removed: dict[str, int]
    """Reason to the number of rows that were removed for it."""
    removed_by_class: dict[str, dict[str, int]] = {}
    """Class to reason to the number of its rows that were removed. Rows without label have the class `""`."""
    duplicates: Duplicates
    """Texts that occurred more than once, or nearly so."""
    conflicts: list[Conflict]
    """Examples of texts with several labels."""
    conflicts_count: int
    """Number of all texts with several labels."""
    label_noise: LabelNoise | None = None
    """Labels that are probably wrong; null when they were not searched for."""
    labels: list[str]
    """Names of the classes."""
    similar_labels: list[str]
    """Labels that differ from another one only in upper and lower case."""
    classes: dict[str, dict[str, int]]
    """Split to class to number of texts."""
    groups: dict[str, int] = {}
    """Split to the number of its groups; empty without `data.group_column`."""
    times: dict[str, list[str]] = {}
    """Split to the times of its oldest and of its newest text, in UTC; empty without `data.time_column`."""
    lengths: dict[str, Lengths]
    """Split to the lengths of its texts; only splits that have texts."""
    length_histogram: LengthHistogram
    """Lengths of all texts."""
    tokens: TokenLengths | None = None
    """Lengths in tokens; null when no encoder is known."""
    examples: dict[str, list[str]]
    """Class to the beginnings of some of its texts."""
    digest: str
    """`sha256:…` over splits and labels."""
    digests: dict[str, str]
    """Split to `sha256:…` over its texts and labels."""
    settings: dict[str, JsonValue]
    """The settings of the step."""
