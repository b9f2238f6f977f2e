"""The training loop that the steps `train` (many processes, with checkpoints) and `select_model` (one) share."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import (
    EncodedTexts,
    Indices,
    Shards,
    epoch_steps,
    group_updates,
    steps_per_epoch,
)
from slipway.components.learning.evaluation import Scores, evaluate
from slipway.components.learning.optimisation import build_optimizer, build_scheduler
from slipway.components.learning.settings import TrainSettings

if TYPE_CHECKING:
    from slipway.components.learning.private_updates import PrivateUpdates


class TrainingPoint(TypedDict):
    """Mean loss in nats over the updates since the point before, and the learning rate of the last of them."""

    update: int
    loss: float
    learning_rate: float


class ValidationPoint(Scores):
    """Validation scores at the end of an epoch (from 1)."""

    epoch: int
    update: int


@dataclass
class Position:
    """How far a training is, with its curves so far: all of its state but the tensors."""

    epoch: int = 0
    """Epochs that are complete."""
    updates_in_epoch: int = 0
    updates: int = 0
    seconds: float = 0.0
    stale_evaluations: int = 0
    window: list[float] = field(default_factory=list)
    """Losses of the updates since the last point of the training curve."""
    secret: int = 0
    """From which a private training draws its batches and its noise; 0 for a training that is not private."""
    training: list[TrainingPoint] = field(default_factory=list)
    validation: list[ValidationPoint] = field(default_factory=list)

    def best(self) -> ValidationPoint | None:
        """The evaluation with the highest macro-F1; among equals the lowest loss, then the earliest."""
        return max(self.validation, key=lambda point: (point["macro_f1"], -point["loss"]), default=None)


class Observer(Protocol):
    """Who follows a training; called on every process at the same places."""

    def updated(self, training: "Training") -> None:
        """An update was made; the position already counts it."""

    def evaluated(self, training: "Training", improved: bool) -> None:
        """An epoch ended; `improved` when its validation is the best so far."""


def use_reproducible_cpu(threads: int) -> None:
    """Only deterministic algorithms, with a fixed number of threads in each operation."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)


class Training:
    """A training in progress: the model, its optimizer and schedule, and the position.

    The gradient of an update is that of the mean loss over all its texts, however they are spread over
    processes and batches. Construct it on every process, from models that are equal.

    Raises:
        BadInput: there are fewer texts than processes, or the model cannot be trained with the privacy of the settings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        texts: EncodedTexts,
        validation: EncodedTexts | None,
        settings: TrainSettings,
        accelerator: Accelerator,
    ) -> None:
        self.settings, self.accelerator = settings, accelerator
        self.texts, self.validation = texts, validation
        steps = steps_per_epoch(len(texts), settings.batch_size, accelerator.num_processes)
        self.updates_per_epoch = -(-steps // settings.accumulation)
        self.total_updates = settings.epochs * self.updates_per_epoch
        optimizer = build_optimizer(model, settings)
        self.scheduler = build_scheduler(optimizer, settings, self.total_updates)
        self.position = Position()
        self.private = self._private(model, optimizer) if settings.privacy_epsilon else None
        if self.private:
            self.model, self.optimizer = model, self.private.optimizer
        else:
            self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self._seconds_before = 0.0
        self._started = time.monotonic()
        torch.manual_seed(settings.seed + 1 + accelerator.process_index)

    @property
    def core(self) -> PreTrainedModel:
        """The model without its data-parallel wrapper."""
        core: PreTrainedModel = self.accelerator.unwrap_model(self.model)
        return core

    @property
    def finished(self) -> bool:
        """All epochs are done, or there were `patience` evaluations without gain."""
        place = self.position
        return place.epoch >= self.settings.epochs or place.stale_evaluations >= self.settings.patience

    def _private(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> "PrivateUpdates":
        from slipway.components.learning import (  # Opacus, which other trainings do without
            privacy_accounting,
            private_updates,
        )

        self.position.secret = private_updates.new_secret()
        budget = privacy_accounting.budget_of(self.settings, len(self.texts), self.updates_per_epoch)
        return private_updates.PrivateUpdates(model, optimizer, self.settings, budget, self.texts, self.accelerator)

    def continue_from(self, position: Position) -> None:
        """Go on at a position whose tensors were already restored."""
        self.position = position
        self._seconds_before = position.seconds
        self._started = time.monotonic()

    def fit(self, observer: Observer | None = None) -> None:
        """Train until `finished`, evaluating at the end of each epoch when there are validation texts."""
        while not self.finished:
            self._run_epoch(observer)
            improved = self._evaluate()
            self.position.epoch += 1
            self.position.updates_in_epoch = 0
            self._measure_time()
            if observer:
                observer.evaluated(self, improved)

    def _run_epoch(self, observer: Observer | None) -> None:
        place, settings = self.position, self.settings
        self.model.train()
        for group in self._groups():
            learning_rate = float(self.scheduler.get_last_lr()[0])
            place.window.append(self._update(group))
            place.updates += 1
            place.updates_in_epoch += 1
            if place.updates % settings.log_every == 0 or place.updates_in_epoch == self.updates_per_epoch:
                loss = sum(place.window) / len(place.window)
                place.training.append(TrainingPoint(update=place.updates, loss=loss, learning_rate=learning_rate))
                place.window = []
            self._measure_time()
            if observer:
                observer.updated(self)

    def _groups(self) -> Iterator[list[Shards]]:
        """The batches of each update that the epoch still has."""
        place, settings = self.position, self.settings
        if self.private:
            for update in range(place.updates, (place.epoch + 1) * self.updates_per_epoch):
                yield self.private.batches(place.secret, update)
            return
        processes = self.accelerator.num_processes
        steps = epoch_steps(self.texts.lengths, settings.batch_size, processes, settings.seed, place.epoch)
        yield from group_updates(steps, settings.accumulation)[place.updates_in_epoch :]

    def _update(self, group: list[Shards]) -> float:
        """One update of the weights; returns the mean loss over its texts on all processes."""
        accelerator = self.accelerator
        if self.private:
            loss = self.private.update(group, self.position.secret, self.position.updates)
            self.scheduler.step()
            return loss
        texts = sum(len(indices) for shards in group for indices in shards)
        total = torch.zeros(1, device=accelerator.device)
        for shards in group[:-1]:
            with accelerator.no_sync(self.model):
                total += self._backward(shards[accelerator.process_index], texts)
        total += self._backward(group[-1][accelerator.process_index], texts)
        accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return float(accelerator.reduce(total, reduction="sum"))

    def _backward(self, indices: Indices, texts: int) -> torch.Tensor:
        """Add the gradient of one batch; returns the batch's share of the mean loss over all `texts` of the update."""
        batch = self.texts.batch(indices)
        inputs = {name: value.to(self.accelerator.device) for name, value in batch.inputs.items()}
        loss = cross_entropy(
            self.model(**inputs).logits,
            batch.labels.to(self.accelerator.device),
            reduction="sum",
            label_smoothing=self.settings.label_smoothing,
        )
        share = loss / texts
        self.accelerator.backward(share * self.accelerator.num_processes)  # data parallelism averages gradients
        return share.detach()

    def _evaluate(self) -> bool:
        if self.validation is None:
            return False
        place = self.position
        before = place.best()
        scores = evaluate(self.core, self.validation, self.accelerator)
        place.validation.append(ValidationPoint(**scores, epoch=place.epoch + 1, update=place.updates))
        improved = place.best() is not before
        place.stale_evaluations = 0 if improved else place.stale_evaluations + 1
        return improved

    def _measure_time(self) -> None:
        self.position.seconds = self._seconds_before + time.monotonic() - self._started
