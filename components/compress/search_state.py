"""The state of a search on disk, so that a killed search can be resumed, and its time budget.

A search trains several models, one after another; each is a stage.

NAME.pt            weights of a finished stage, and the seconds that it took
NAME.position.pt   weights, optimizer and schedule of an unfinished stage, written after each epoch
"""

import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slipway.components.machine import whole_file

State = dict[str, Any]
UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError)
"""Errors that torch raises for a file that is missing, truncated or damaged."""


class SearchState:
    """The finished and the unfinished stages of a search.

    Args:
        folder: of this search only, which is identified by teacher, data and settings; it is made if it is missing.
        budget_s: time from now in which models may be trained, in seconds.
    """

    def __init__(self, folder: Path, budget_s: float = float("inf")) -> None:
        self.folder, self.budget_s = folder, budget_s
        self.unfinished: list[str] = []
        """Stages that were ended early or not started, since the budget was spent."""
        self.resumed: list[str] = []
        """Stages that an earlier, killed run had finished or started."""
        self.given_up: dict[str, str] = {}
        """Stages whose teaching was stopped or not begun, since they could not pass, each with the reason."""
        self._end = time.monotonic() + budget_s
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def out_of_time(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() >= self._end

    def leaves_out(self, names: Sequence[str]) -> bool:
        """Whether these stages are skipped, since the budget is spent; they then count as unfinished.

        Stages are not skipped if an earlier run has finished one of them, since that takes no time.
        """
        if not self.out_of_time or any((self.folder / f"{name}.pt").exists() for name in names):
            return False
        self.unfinished.extend(names)
        return True

    def finished(self, name: str) -> State | None:
        """The `weights` and `seconds` of a finished stage; None for another stage."""
        return self._read(name, f"{name}.pt")

    def finish(self, name: str, model: nn.Module, seconds: float) -> None:
        """Store the weights of a finished stage; does nothing for one that was ended early or given up."""
        if name not in self.unfinished and name not in self.given_up:
            self._write(f"{name}.pt", {"weights": model.state_dict(), "seconds": seconds})
            (self.folder / f"{name}.position.pt").unlink(missing_ok=True)

    def position(self, name: str) -> State | None:
        """The state that `keep_position` stored; None when there is none."""
        return self._read(name, f"{name}.position.pt")

    def keep_position(self, name: str, state: State) -> None:
        """Store the state of an unfinished stage."""
        self._write(f"{name}.position.pt", state)

    def _read(self, name: str, file: str) -> State | None:
        """Read a file; None when it is missing or damaged."""
        try:
            state: State = torch.load(self.folder / file, weights_only=True)
        except UNREADABLE:
            return None
        if name not in self.resumed:
            self.resumed.append(name)
        return state

    def _write(self, file: str, state: State) -> None:
        with whole_file.replacing(self.folder / file, durable=False) as new:  # a damaged one counts as missing
            torch.save(state, new)


def take_weights(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Put weights into a model of the same structure, in place. Their shapes may differ, as after pruning."""
    for name, value in weights.items():
        parent, _, last = name.rpartition(".")
        module = model.get_submodule(parent)
        if last in module._parameters:
            setattr(module, last, nn.Parameter(value.clone()))
            _set_sizes(module)


def embedding_sizes(module: nn.Embedding) -> None:
    """Set the sizes of an embedding from the shape of its table."""
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _set_sizes(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.Embedding):
        embedding_sizes(module)
