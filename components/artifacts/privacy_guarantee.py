"""The guarantee of differential privacy, as it is kept in the result of a training, the bundle and the model card."""

from pydantic import BaseModel, ConfigDict, Field

UNIT = "one text of the prepared training split, added or removed"


class Privacy(BaseModel):
    """The guarantee of a training by DP-SGD (Abadi et al. 2016, *Deep learning with differential privacy*).

    For every set of possible weights, the probability that training gives one of them changes by a factor of at most
    exp(ε), plus δ, if one text is added or removed (Dwork et al. 2006, *Our data, ourselves*).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    epsilon: float = Field(ge=0)
    """ε of all planned updates. The guarantee holds for whatever reason the training stopped."""
    epsilon_spent: float = Field(ge=0)
    """ε of the updates that were made."""
    delta: float = Field(gt=0, lt=1)
    """Probability with which the guarantee may fail."""
    noise_multiplier: float = Field(gt=0)
    """Standard deviation of the noise, as a multiple of `gradient_norm`."""
    sampling_rate: float = Field(gt=0, le=1)
    """Probability of a text to be in an update."""
    gradient_norm: float = Field(gt=0)
    """Norm to which the gradient of each text was scaled down if it was larger."""
    updates: int = Field(ge=0)
    """Updates that were made."""
    updates_planned: int = Field(ge=1)
    """Updates that were planned."""
    accountant: str
    """How ε was computed."""
    unit: str = UNIT
    """The difference between two data sets that the guarantee is about."""

    def sentence(self) -> str:
        """The guarantee in one sentence."""
        return (
            f"({self.epsilon:.2f}, {self.delta:.1e})-differential privacy for {self.unit}: {self.updates} of "
            f"{self.updates_planned} updates were made, which spent ε = {self.epsilon_spent:.2f}"
        )
