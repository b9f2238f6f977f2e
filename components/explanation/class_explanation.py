"""The explanation of one label of one text, in the form of model servers' responses and of a run's record."""

from pydantic import BaseModel, ConfigDict


class ClassExplanation(BaseModel):
    """Words of a text, and what each adds to the logit of a label. `attributions` sum to `logit` minus `baseline`."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    label: str
    """The label that is explained."""
    words: list[str]
    """The text, cut into words."""
    attributions: list[float]
    """What each word adds to the logit, in the order of `words`."""
    errors: list[float | None] = []
    """Standard error of each attribution; null where it is not known."""
    logit: float
    """The label's logit for the whole text."""
    baseline: float
    """The label's logit with every word masked."""
    inferences: int = 0
    """Inferences of the model that the explanation took."""
    cut: bool = False
    """Whether the text is longer than what the model reads."""
    score: float | None = None
    """The label's probability, from 0 to 1; absent where it was not requested."""
