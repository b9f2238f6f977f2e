"""Updates of a private training, by DP-SGD (Abadi et al. 2016, *Deep learning with differential privacy*).

Each update takes every text with the same probability (a Poisson sample), scales the gradient of each text down to a
norm, and adds Gaussian noise to their sum. So no single text determines the weights.

The sample, the dropout and the noise of an update depend only on a secret number and the number of the update. So a
resumed training repeats an update with the same noise; a second noise for the same update would reveal more about its
texts. And all processes compute the same noise, which is added once. A person with the secret could subtract the noise.
So the secret comes from the operating system's random source, and is deleted with the checkpoints.
"""

import secrets

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from opacus.optimizers import DPOptimizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import EncodedTexts, Indices, Shards
from slipway.components.learning.per_text_gradients import hook_up
from slipway.components.learning.privacy_accounting import Budget
from slipway.components.learning.settings import TrainSettings

SECRET_BITS = 128
SAMPLE, DROPOUT, NOISE = range(3)
"""The random streams of an update: each draws from a generator of its own."""


def new_secret() -> int:
    """A secret random number of `SECRET_BITS` bits, the same on every process."""
    shared = [secrets.randbits(SECRET_BITS)]
    broadcast_object_list(shared)
    return shared[0]


def poisson_update(
    lengths: Indices, rate: float, batch_size: int, processes: int, generator: np.random.Generator
) -> list[Shards]:
    """Draw the texts of an update as batches.

    Texts of similar length are in the same batch. Batches may be empty, and there is at least one step.

    Args:
        lengths: tokens of each text, shape (texts,).
        rate: probability with which each text is drawn.
        batch_size: most texts of a batch.
        processes: number of processes.
        generator: draws the texts.
    """
    drawn = np.flatnonzero(generator.random(len(lengths)) < rate)
    ordered = drawn[np.argsort(lengths[drawn], kind="stable")]
    width = batch_size * processes
    steps = [ordered[start : start + width] for start in range(0, max(1, len(ordered)), width)]
    return [[step[rank::processes] for rank in range(processes)] for step in steps]


class NoisyOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus has no types
    """Clips gradients as Opacus does, sums those of all processes, and adds the noise of the update once.

    Args:
        optimizer: gets the noisy mean gradient.
        budget: norm and noise.
        expected: mean number of texts of an update. The sum is divided by it, since a division by the number of texts
            in the sample would reveal that number.
        accelerator: of the processes.
    """

    chance: np.random.Generator
    """Draws the noise of the present update; the same on every process."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, budget: Budget, expected: float, accelerator: Accelerator
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.gradient_norm,
            expected_batch_size=expected,
        )
        self.accelerator = accelerator

    def add_noise(self) -> None:
        """Put the noisy sum over all processes into `grad` of every parameter."""
        scale = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            total = self.accelerator.reduce(parameter.summed_grad, reduction="sum")
            noise = torch.from_numpy(self.chance.standard_normal(tuple(parameter.shape), dtype=np.float32))
            parameter.grad = total + scale * noise


class PrivateUpdates:
    """Draws the batches of a private training, and makes its updates.

    Args:
        model: gets hooks, and must not be trained by other code.
        optimizer: of the model.
        settings: of the training.
        budget: rate, norm and noise.
        texts: the training texts.
        accelerator: of the processes.

    Raises:
        BadInput: the encoder has layers that cannot be trained in this way.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        budget: Budget,
        texts: EncodedTexts,
        accelerator: Accelerator,
    ) -> None:
        hook_up(model, settings.encoder)
        self.model, self.settings, self.budget, self.texts = model, settings, budget, texts
        self.accelerator = accelerator
        self.optimizer = NoisyOptimizer(optimizer, budget, budget.sampling_rate * len(texts), accelerator)

    def batches(self, secret: int, update: int) -> list[Shards]:
        """Draw the batches of an update: its steps, each with one batch for each process."""
        processes = self.accelerator.num_processes
        generator = np.random.default_rng([secret, update, SAMPLE])
        rate = self.budget.sampling_rate
        return poisson_update(self.texts.lengths, rate, self.settings.batch_size, processes, generator)

    def update(self, group: list[Shards], secret: int, update: int) -> float:
        """Make an update; returns the mean loss over its texts on all processes, without noise."""
        self.model.train()  # the hooks of Opacus work in training mode only
        rank = self.accelerator.process_index
        dropout = np.random.default_rng([secret, update, DROPOUT, rank])
        torch.manual_seed(int(dropout.integers(2**63)))
        self.optimizer.chance = np.random.default_rng([secret, update, NOISE])
        total = torch.zeros(1)
        for number, shards in enumerate(group, 1):
            total += self._gradients(shards[rank])
            self.optimizer.signal_skip_step(number < len(group))  # all steps but the last only add up gradients
            self.optimizer.step()
            self.optimizer.zero_grad()
        texts = sum(len(indices) for shards in group for indices in shards)
        return float(self.accelerator.reduce(total, reduction="sum")) / max(1, texts)

    def _gradients(self, indices: Indices) -> torch.Tensor:
        """Compute the gradient of each text into `grad_sample`, shape (texts, …); returns the sum of their losses."""
        if not len(indices):
            for parameter in self.optimizer.params:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
            return torch.zeros(1)
        batch = self.texts.batch(indices)
        logits = self.model(**batch.inputs).logits
        smoothing = self.settings.label_smoothing
        loss = cross_entropy(logits, batch.labels, reduction="sum", label_smoothing=smoothing)
        torch.autograd.backward(loss)
        return loss.detach()
