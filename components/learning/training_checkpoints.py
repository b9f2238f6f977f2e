"""Checkpoints of a training in progress: complete or absent, the last two kept, read without running pickled code."""

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
"""What json and torch raise for a file that is cut short, damaged or of another format."""


@contextmanager
def exclusive(work: Path) -> Iterator[None]:
    """Hold the folder for one training; a killed holder lets go of it at once.

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
    """Replace a JSON file. After a loss of power it may be damaged, which readers take as missing."""
    whole_file.replace(path, json.dumps(record, indent=1), durable=False)


class OfAnother(ValueError):
    """A checkpoint is of another training."""


class CheckpointStore:
    """The checkpoints of one training in a work folder.

    checkpoint-<updates>-<epochs>/state.pt        model, optimizer, schedule, random state of every process
    checkpoint-<updates>-<epochs>/position.json   position, curves so far, digest of the configuration
    best.pt                                       weights of the best evaluation
    """

    def __init__(self, work: Path, digest: str) -> None:
        self.work, self.digest = work, digest

    def save(self, training: Training) -> None:
        """Write a checkpoint; to be called on every process, the first one writes."""
        random_states = training.accelerator.gather(torch.get_rng_state().unsqueeze(0))
        if not training.accelerator.is_main_process:
            return
        place = training.position
        final = self.work / f"checkpoint-{place.updates:08d}-{place.epoch:04d}"
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
        write_json(temporary / "position.json", {"digest": self.digest, "position": asdict(place)})
        temporary.rename(final)
        for old in self._folders()[:-KEPT]:
            shutil.rmtree(old)

    def save_best(self, training: Training) -> None:
        """Keep the present weights as the best; the first process writes."""
        if training.accelerator.is_main_process:
            with whole_file.replacing(self.work / "best.pt", durable=False) as new:
                torch.save(training.core.state_dict(), new)

    def load_best(self) -> dict[str, torch.Tensor]:
        """The weights of the best evaluation."""
        weights: dict[str, torch.Tensor] = torch.load(self.work / "best.pt", weights_only=True)
        return weights

    def restore(self, training: Training) -> str:
        """Continue from the newest readable checkpoint of this configuration; to be called on every process.

        Returns a message for a person, empty when there was no checkpoint at all. Processes read the same
        files, so they come to the same result; nobody writes before all have read. A damaged one is removed:
        its place is that of the checkpoint which the training will make there.

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
                unusable += [] if isinstance(error, OfAnother) else [folder]
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
        """Remove every checkpoint, also unfinished ones."""
        for folder in [*self._folders(), *self.work.glob(".checkpoint-*")]:
            shutil.rmtree(folder)
        (self.work / "best.pt").unlink(missing_ok=True)

    def _restore(self, folder: Path, training: Training) -> str:
        record = json.loads((folder / "position.json").read_text("utf-8"))
        if record["digest"] != self.digest:
            raise OfAnother("it belongs to other data or settings")
        position = Position(**record["position"])
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        training.core.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])
        training.scheduler.load_state_dict(state["scheduler"])
        own = state["random_states"][training.accelerator.process_index]
        torch.set_rng_state(own.clone())  # torch 2.13 crashes on a view into a larger tensor
        training.continue_from(position)
        return f"going on from update {position.updates}"

    def _folders(self) -> list[Path]:
        return sorted(self.work.glob("checkpoint-*"))
