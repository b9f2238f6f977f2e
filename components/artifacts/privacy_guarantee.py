"""What differential privacy promises the writers of the training texts, as result, bundle and model card carry it."""

from pydantic import BaseModel, ConfigDict, Field

UNIT = "one text of the prepared training split, added or removed"


class Privacy(BaseModel):
    """The guarantee of a training by DP-SGD (Abadi et al. 2016, *Deep learning with differential privacy*).

    Whatever somebody concludes from the weights, they conclude it with a probability that differs by a factor of at
    most exp(ε), but for δ, from that with one text more or less (Dwork et al. 2006, *Our data, ourselves*).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    epsilon: float = Field(ge=0)
    """ε of all updates that were planned. It holds whatever made the training stop."""
    epsilon_spent: float = Field(ge=0)
    """ε of the updates that were made."""
    delta: float = Field(gt=0, lt=1)
    """Probability with which the guarantee may fail."""
    noise_multiplier: float = Field(gt=0)
    """Standard deviation of the noise, as a multiple of `gradient_norm`."""
    sampling_rate: float = Field(gt=0, le=1)
    """Probability of a text to be in an update."""
    gradient_norm: float = Field(gt=0)
    """To which the gradient of each text was scaled down."""
    updates: int = Field(ge=0)
    """Updates that were made."""
    updates_planned: int = Field(ge=1)
    """Updates that were planned."""
    accountant: str
    """How ε was computed."""
    unit: str = UNIT
    """By what the data sets differ between which nobody can tell."""

    def sentence(self) -> str:
        """The guarantee in one sentence."""
        return (
            f"({self.epsilon:.2f}, {self.delta:.1e})-differential privacy for {self.unit}: {self.updates} of "
            f"{self.updates_planned} updates were made, which spent ε = {self.epsilon_spent:.2f}"
        )
