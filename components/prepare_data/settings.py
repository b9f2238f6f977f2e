"""Settings of the step `prepare_data`."""

from typing import Literal

from pydantic import field_validator, model_validator

from slipway.components.settings import Settings, setting

SAMPLE = "customer-messages"


class DataSettings(Settings):
    """Where the labelled texts come from, what is removed, and how they are split."""

    source: str = setting(
        SAMPLE,
        "a data file, a folder of them, an s3:// URI, the name of a Hugging Face dataset (`org/name`, "
        f"`org/name@revision`), or `{SAMPLE}`",
        min_length=1,
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = setting(
        "auto", "format of the files; auto goes by their suffix"
    )
    encoding: str = setting(
        "auto",
        "encoding of CSV, TSV and JSONL files by its name in Python, such as windows-1252 or utf-16-le; auto takes "
        "that of the byte order mark, or else UTF-8",
    )
    delimiter: str = setting(",", "what separates the fields of a CSV file", "character", min_length=1, max_length=1)
    header: bool = setting(
        True, "whether the first row of a CSV or TSV file names the columns; if not, they are 1, 2, …"
    )
    text_column: str = setting("text", "column that holds the text", min_length=1, coerce_numbers_to_str=True)
    label_column: str = setting("label", "column that holds the class", min_length=1, coerce_numbers_to_str=True)
    slice_columns: list[str] = setting(
        [],
        "further columns, such as a language or a shop, by whose values the evaluation shows scores; `file` stands for "
        "the data file that a text is from",
    )
    group_column: str = setting(
        "",
        "column that says what belongs together, such as a customer, a thread or a document: all texts of a group go "
        "to one split, and to one fold of select_model; empty for none, and a row without value is a group of its own",
        coerce_numbers_to_str=True,
    )
    time_column: str = setting(
        "",
        "column with the time of a text (a date of ISO 8601, a year, or seconds since 1970): the newest texts are the "
        "test split, the next newest the validation split; empty to split at random",
        coerce_numbers_to_str=True,
    )
    hub_config: str = setting("", "configuration (subset) of the Hugging Face dataset")
    ready_splits: bool = setting(
        False, "keep the splits of the source (of a Hugging Face dataset, or files of a folder named train, test, …)"
    )
    unescape_html: bool = setting(False, "turn HTML entities such as &amp; into characters")
    minimum_length: int = setting(1, "shorter texts are removed", "characters", ge=1)
    maximum_length: int = setting(2000, "longer texts are removed", "characters", ge=1)
    near_duplicate_similarity: float = setting(
        0.6,
        "texts from this Jaccard similarity of their 4-character shingles on are near duplicates",
        "share",
        gt=0,
        le=1,
    )
    conflicts: Literal["majority", "drop"] = setting(
        "majority", "what to do with one text that has several labels: keep the most frequent (a tie drops it), or drop"
    )
    rare_classes: Literal["refuse", "drop"] = setting(
        "refuse", "what to do with a class that has too few examples: end with an error, or leave the class out"
    )
    minimum_examples: int = setting(10, "examples that a class must have after cleaning", "examples", ge=3)
    validation_share: float = setting(0.15, "part of each class that goes to the validation split", "share", gt=0, lt=1)
    test_share: float = setting(0.2, "part of each class that goes to the test split", "share", gt=0, lt=1)
    label_noise_texts: int = setting(
        5000, "at most this many texts, chosen at random, are searched for wrong labels; 0 for none", "texts", ge=0
    )
    limit: int = setting(0, "use at most this many texts, chosen at random; 0 uses all", "texts", ge=0)
    seed: int = setting(13, "seed of the order in which texts are kept and split", ge=0, lt=2**31)

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        if encoding == "auto":
            return encoding
        try:
            "".encode(encoding)
        except LookupError:  # also of a codec that is no encoding of text, such as base64
            raise ValueError(
                f"encoding {encoding!r} is unknown; expected auto or a name such as utf-8, utf-16-le, windows-1252, "
                "shift_jis or gb18030"
            ) from None
        return encoding

    @field_validator("delimiter", mode="before")
    @classmethod
    def _tab(cls, delimiter: object) -> object:
        return "\t" if delimiter == "\\t" else delimiter  # a shell does not turn \t into a tab

    @model_validator(mode="after")
    def _consistent(self) -> "DataSettings":
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave nothing for training; lower them")
        if self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column!r}; name two columns")
        for name in ("group_column", "time_column"):
            column = getattr(self, name)
            if column in (self.text_column, self.label_column):
                raise ValueError(f"{name} is {column!r}, as is the column of texts or labels; name another column")
            if column and self.ready_splits:
                raise ValueError(f"{name} and ready_splits both say how texts are split; set one of them")
        if self.minimum_length > self.maximum_length:
            raise ValueError("minimum_length is greater than maximum_length")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The part of each class that goes to each split."""
        return {
            "train": 1 - self.validation_share - self.test_share,
            "validation": self.validation_share,
            "test": self.test_share,
        }
