"""Checkpoints of a training in progress. A checkpoint is complete or absent, and the last two are kept.

They are read with `weights_only`, so that a file cannot run code.
"""

import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from slipway.components.errors import SlipwayError
from slipway.components.learning.loop import Position, Training
from slipway.components.machine import file_lock, whole_file

KEPT = 2
LOCK_WAIT_SECONDS = 30.0
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError)
"""Errors that json and torch raise for a file that is truncated, damaged or of another format."""


@contextmanager
def exclusive(work: Path) -> Iterator[None]:
    """Lock the work folder for one training. The system releases the lock when its process ends or is killed.

    Raises:
        SlipwayError: another training held the folder for `LOCK_WAIT_SECONDS`.
    """
    try:
        lock = file_lock.take(work / "lock", LOCK_WAIT_SECONDS)
    except file_lock.Held:
        raise SlipwayError(f"another training is at work in {work}; wait for it or stop it") from None
    with lock:
        yield


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replace a JSON file. After a loss of power it may be damaged; readers treat such a file as missing."""
    whole_file.replace(path, json.dumps(record, indent=1), durable=False)


class OtherTraining(ValueError):
    """A checkpoint belongs to a training with another digest."""


class CheckpointStore:
    """The checkpoints of one training in a work folder.

    checkpoint-<updates>-<epochs>/state.pt        model, optimizer, schedule, random state of every process
    checkpoint-<updates>-<epochs>/position.json   position, curves so far, digest of the configuration
    best.pt                                       weights of the best evaluation
    """

    def __init__(self, work: Path, digest: str) -> None:
        self.work, self.digest = work, digest

    def save(self, training: Training) -> None:
        """Write a checkpoint. Call it on every process; the first one writes."""
        random_states = training.accelerator.gather(torch.get_rng_state().unsqueeze(0))
        if not training.accelerator.is_main_process:
            return
        position = training.position
        final = self.work / f"checkpoint-{position.updates:08d}-{position.epoch:04d}"
        if final.exists():
            return
        temporary = self.work / f".{final.name}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        state = {
            "model": training.core.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "scheduler": training.scheduler.state_dict(),
            "random_states": random_states,
        }
        torch.save(state, temporary / "state.pt")
        write_json(temporary / "position.json", {"digest": self.digest, "position": asdict(position)})
        temporary.rename(final)  # only now does the checkpoint exist, and it is complete
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old)

    def save_best(self, training: Training) -> None:
        """Store the present weights as the best ones; the first process writes."""
        if training.accelerator.is_main_process:
            with whole_file.replacing(self.work / "best.pt", durable=False) as new:
                torch.save(training.core.state_dict(), new)

    def load_best(self) -> dict[str, torch.Tensor]:
        """The weights of the best evaluation."""
        weights: dict[str, torch.Tensor] = torch.load(self.work / "best.pt", weights_only=True)
        return weights

    def restore(self, training: Training) -> str:
        """Resume from the newest readable checkpoint with the same digest. Call it on every process.

        All processes read the same files, so they choose the same checkpoint. The first process removes damaged
        checkpoints after all have read: the resumed training will write checkpoints of the same names.

        Returns:
            A message about the checkpoint; empty when there was none.

        Raises:
            SlipwayError: the processes do not see the same checkpoints.
        """
        message, unusable = "", []
        for folder in reversed(self._folders()):
            try:
                message = self._restore(folder, training)
                break
            except UNREADABLE as error:
                message = f"{folder.name} cannot be used ({error})"
                unusable += [] if isinstance(error, OtherTraining) else [folder]
        updates = torch.tensor([training.position.updates])
        if len(set(training.accelerator.gather(updates).tolist())) > 1:
            raise SlipwayError(
                f"the worker processes see different checkpoints in {self.work}; put it on a shared volume"
            )
        if training.accelerator.is_main_process:
            for folder in unusable:
                shutil.rmtree(folder)
        return message

    def clear(self) -> None:
        """Remove all checkpoints, also incomplete ones."""
        for folder in [*self._folders(), *self.work.glob(".checkpoint-*")]:
            shutil.rmtree(folder)
        (self.work / "best.pt").unlink(missing_ok=True)

    def _restore(self, folder: Path, training: Training) -> str:
        record = json.loads((folder / "position.json").read_text("utf-8"))
        if record["digest"] != self.digest:
            raise OtherTraining("it belongs to other data or settings")
        position = Position(**record["position"])
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        training.core.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.scheduler.load_state_dict(state["scheduler"])
        random_state = state["random_states"][training.accelerator.process_index]
        torch.set_rng_state(random_state.clone())  # torch 2.13 crashes on a view into a larger tensor
        training.continue_from(position)
        return f"going on from update {position.updates}"

    def _folders(self) -> list[Path]:
        return sorted(self.work.glob("checkpoint-*"))
