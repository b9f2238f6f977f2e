"""The privacy budget of a private training: the noise that it needs, and the ε that its updates have spent.

The accountant is that of Rényi differential privacy (Mironov 2017) for the Gaussian mechanism on a Poisson sample
(Mironov, Talwar, Zhang 2019, *Rényi differential privacy of the sampled Gaussian mechanism*), which is proven for texts
that are added and for texts that are removed. Numerical accountants (Gopi et al. 2021) give a somewhat smaller ε.
"""

import warnings
from dataclasses import dataclass

from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier

from slipway.components.artifacts.privacy_guarantee import Privacy
from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings

ACCOUNTANT = "RDP (Opacus)"


@dataclass(frozen=True)
class Budget:
    """The noise of a training, and the values that it was computed from."""

    delta: float
    gradient_norm: float
    noise_multiplier: float
    sampling_rate: float
    updates: int
    """Number of planned updates."""

    def epsilon(self, updates: int) -> float:
        """The ε that so many updates spend."""
        if not updates:
            return 0.0
        accountant = RDPAccountant()
        accountant.history = [(self.noise_multiplier, self.sampling_rate, updates)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Opacus warns that other orders might give a smaller ε
            return float(accountant.get_epsilon(self.delta))

    def spent(self, updates: int) -> Privacy:
        """The guarantee after so many updates, for the result."""
        return Privacy(
            epsilon=self.epsilon(self.updates),
            epsilon_spent=self.epsilon(updates),
            delta=self.delta,
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            gradient_norm=self.gradient_norm,
            updates=updates,
            updates_planned=self.updates,
            accountant=ACCOUNTANT,
        )


def budget_of(settings: TrainSettings, texts: int, updates_per_epoch: int) -> Budget:
    """Find the least noise with which all epochs spend at most `settings.privacy_epsilon`.

    Args:
        settings: of the training.
        texts: number of texts in the training split.
        updates_per_epoch: number of updates; each takes a text with the probability 1 / `updates_per_epoch`.

    Raises:
        BadInput: δ is so large that a training may reveal single texts, or no noise makes ε so small.
    """
    delta = settings.privacy_delta or 1 / (2 * texts)
    if delta >= 1 / texts:
        raise BadInput(
            f"privacy_delta={delta:g} would let each of the {texts} training texts be given away; set it below "
            f"{1 / texts:.1e}, or to 0 for {1 / (2 * texts):.1e}"
        )
    updates = settings.epochs * updates_per_epoch
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            noise = get_noise_multiplier(
                target_epsilon=settings.privacy_epsilon,
                target_delta=delta,
                sample_rate=1 / updates_per_epoch,
                steps=updates,
                accountant=RDPAccountant.mechanism(),
            )
    except ValueError:
        raise BadInput(
            f"privacy_epsilon={settings.privacy_epsilon:g} cannot be reached with delta {delta:.1e} by any noise; set "
            "it higher (1 to 8 are usual), or to 0 to train without privacy"
        ) from None
    return Budget(delta, settings.privacy_gradient_norm, noise, 1 / updates_per_epoch, updates)
