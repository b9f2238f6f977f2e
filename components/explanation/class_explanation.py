"""What speaks for one label of one text, as a model server answers it and the record of a run keeps it."""

from pydantic import BaseModel, ConfigDict


class ClassExplanation(BaseModel):
    """Words of a text and what each adds to the logit of a label. `attributions` sum to `logit` minus `baseline`."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    label: str
    """The label that is explained."""
    words: list[str]
    """The text, cut into words."""
    attributions: list[float]
    """What each word adds to the logit."""
    errors: list[float | None] = []
    """Standard error of each attribution; null where nothing is known."""
    logit: float
    """The label's logit for the whole text."""
    baseline: float
    """The label's logit with every word masked."""
    inferences: int = 0
    """How many texts the model was asked."""
    cut: bool = False
    """Whether the text goes on, beyond what the model reads."""
    score: float | None = None
    """The label's probability, from 0 to 1; absent where nobody asked for it."""
