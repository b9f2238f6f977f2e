"""The training loop of the steps `train` (several processes, with checkpoints) and `select_model` (one process)."""

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
from slipway.components.learning.open_settings import class_weights
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
    """Validation scores within an epoch (from 1) or at its end; epoch 0 is before the first update."""

    epoch: int
    update: int


@dataclass
class Position:
    """The state of a training without its tensors: how far it is, and its curves so far."""

    epoch: int = 0
    """Number of complete epochs."""
    updates_in_epoch: int = 0
    updates: int = 0
    seconds: float = 0.0
    stale_evaluations: int = 0
    window: list[float] = field(default_factory=list)
    """Losses of the updates since the last point of the training curve."""
    secret: int = 0
    """Seed of the batches and the noise of a private training; 0 for a training that is not private."""
    training: list[TrainingPoint] = field(default_factory=list)
    validation: list[ValidationPoint] = field(default_factory=list)

    def best(self, since: int = 0) -> ValidationPoint | None:
        """The evaluation with the highest macro-F1; among equal ones that with the lowest loss, then the earliest.

        Args:
            since: evaluations before this update do not count.
        """
        points = [point for point in self.validation if point["update"] >= since]
        return max(points, key=lambda point: (point["macro_f1"], -point["loss"]), default=None)


class Observer(Protocol):
    """Is called during a training, on every process at the same points."""

    def updated(self, training: "Training") -> None:
        """Called after each update. The position counts this update already."""

    def evaluated(self, training: "Training", improved: bool) -> None:
        """Called after each evaluation. `improved` tells whether it is the best so far."""


def use_reproducible_cpu(threads: int) -> None:
    """Use deterministic algorithms only, with a fixed number of threads, on which the order of sums depends."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)


class Training:
    """A training in progress: the model, its optimizer and schedule, and the position.

    The gradient of an update is that of the mean loss over all its texts, however the texts are distributed over
    processes and batches. Construct it on every process, from equal models.

    Args:
        model: is trained in place.
        texts: of the training split.
        validation: texts of the validation split; None to train without evaluations.
        settings: of the training.
        accelerator: of the processes.

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
        classes = int(model.config.num_labels or 0)
        self.class_weights = (
            torch.tensor(class_weights(texts.label_ids, classes), device=accelerator.device)
            if settings.class_weights == "balanced"
            else None
        )
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
        """Whether all epochs are done, or the last `patience` evaluations did not improve the scores."""
        position = self.position
        return position.epoch >= self.settings.epochs or position.stale_evaluations >= self.settings.patience

    def _private(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer) -> "PrivateUpdates":
        from slipway.components.learning import (  # imported here: they load Opacus, which only this needs
            privacy_accounting,
            private_updates,
        )

        self.position.secret = private_updates.new_secret()
        budget = privacy_accounting.budget_of(self.settings, len(self.texts), self.updates_per_epoch)
        return private_updates.PrivateUpdates(model, optimizer, self.settings, budget, self.texts, self.accelerator)

    def continue_from(self, position: Position) -> None:
        """Resume at a position. The tensors must have been restored already."""
        self.position = position
        self._seconds_before = position.seconds
        self._started = time.monotonic()

    def fit(self, observer: Observer | None = None, from_probe: bool = False) -> None:
        """Train until `finished`. Evaluates within and at the end of each epoch when there are validation texts.

        Args:
            observer: is called at updates and evaluations.
            from_probe: the head is a linear probe, so the model is evaluated before the first update as well.
        """
        if from_probe and self.validation is not None and not self.position.validation:
            improved = self._evaluate(epoch=0)
            if observer:
                observer.evaluated(self, improved)
        while not self.finished:
            self._run_epoch(observer)
            if self.position.updates_in_epoch < self.updates_per_epoch:
                return  # an evaluation within the epoch ended the training
            improved = self._evaluate()
            self.position.epoch += 1
            self.position.updates_in_epoch = 0
            self._measure_time()
            if observer:
                observer.evaluated(self, improved)

    def _due(self) -> bool:
        """Whether an evaluation within the epoch is due after the last update; the one at its end is not meant."""
        done, whole, times = self.position.updates_in_epoch, self.updates_per_epoch, self.settings.evaluations
        return self.validation is not None and done < whole and done * times // whole > (done - 1) * times // whole

    def _run_epoch(self, observer: Observer | None) -> None:
        position, settings = self.position, self.settings
        self.model.train()
        for group in self._groups():
            learning_rate = float(self.scheduler.get_last_lr()[0])
            position.window.append(self._update(group))
            position.updates += 1
            position.updates_in_epoch += 1
            if position.updates % settings.log_every == 0 or position.updates_in_epoch == self.updates_per_epoch:
                loss = sum(position.window) / len(position.window)
                position.training.append(TrainingPoint(update=position.updates, loss=loss, learning_rate=learning_rate))
                position.window = []
            self._measure_time()
            # It comes before the checkpoint of this update, so that a training that goes on has evaluated, too.
            if self._due():
                improved = self._evaluate()
                if observer:
                    observer.evaluated(self, improved)
            if observer:
                observer.updated(self)
            if self.finished:
                return

    def _groups(self) -> Iterator[list[Shards]]:
        """Yield the batches of each update that is left in the epoch."""
        position, settings = self.position, self.settings
        if self.private:
            for update in range(position.updates, (position.epoch + 1) * self.updates_per_epoch):
                yield self.private.batches(position.secret, update)
            return
        processes = self.accelerator.num_processes
        steps = epoch_steps(self.texts.lengths, settings.batch_size, processes, settings.seed, position.epoch)
        yield from group_updates(steps, settings.accumulation)[position.updates_in_epoch :]

    def _update(self, group: list[Shards]) -> float:
        """Make one update of the weights; returns the mean loss over its texts on all processes."""
        accelerator = self.accelerator
        if self.private:
            loss = self.private.update(group, self.position.secret, self.position.updates)
            self.scheduler.step()
            return loss
        texts = sum(len(indices) for shards in group for indices in shards)
        total = torch.zeros(1, device=accelerator.device)
        for shards in group[:-1]:
            with accelerator.no_sync(self.model):  # the processes exchange gradients in the last batch only
                total += self._backward(shards[accelerator.process_index], texts)
        total += self._backward(group[-1][accelerator.process_index], texts)
        accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return float(accelerator.reduce(total, reduction="sum"))

    def _backward(self, indices: Indices, texts: int) -> torch.Tensor:
        """Add the gradient of one batch; returns its contribution to the mean loss over all `texts` of the update."""
        batch = self.texts.batch(indices)
        inputs = {name: value.to(self.accelerator.device) for name, value in batch.inputs.items()}
        loss = cross_entropy(
            self.model(**inputs).logits,
            batch.labels.to(self.accelerator.device),
            weight=self.class_weights,
            reduction="sum",
            label_smoothing=self.settings.label_smoothing,
        )
        share = loss / texts
        # Data parallelism averages the gradients of the processes, but this loss needs their sum.
        self.accelerator.backward(share * self.accelerator.num_processes)
        return share.detach()

    def _evaluate(self, epoch: int | None = None) -> bool:
        """Evaluate on the validation texts; returns whether this is the best evaluation so far.

        Args:
            epoch: of the new point; None for the present one.
        """
        if self.validation is None:
            return False
        position = self.position
        # Fine-tuning often falls below the probe before it rises above it, so patience leaves the probe out.
        best_before, best_tuned_before = position.best(), position.best(since=1)
        scores = evaluate(self.core, self.validation, self.accelerator)
        number = position.epoch + 1 if epoch is None else epoch
        position.validation.append(ValidationPoint(**scores, epoch=number, update=position.updates))
        gained = position.best(since=1) is not best_tuned_before or not position.updates
        position.stale_evaluations = 0 if gained else position.stale_evaluations + 1
        return position.best() is not best_before

    def _measure_time(self) -> None:
        self.position.seconds = self._seconds_before + time.monotonic() - self._started
