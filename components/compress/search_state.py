"""What a search has done so far, on disk, so that a killed one goes on; and the time that it may take.

NAME.pt            weights of a finished stage and the seconds that it took
NAME.position.pt   weights, optimizer and schedule of an unfinished one, after each epoch
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


class SearchState:
    """The finished and the unfinished stages of a search.

    Args:
        folder: belongs to one search: the same teacher, data and settings. It is made.
        budget_s: seconds from now in which models may be trained.
    """

    def __init__(self, folder: Path, budget_s: float = float("inf")) -> None:
        self.folder, self.budget_s = folder, budget_s
        self.unfinished: list[str] = []
        """Stages that the budget ended early or did not let begin."""
        self.resumed: list[str] = []
        """Stages that an earlier, killed run had finished or begun."""
        self._end = time.monotonic() + budget_s
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def out_of_time(self) -> bool:
        """Whether the budget is spent."""
        return time.monotonic() >= self._end

    def leaves_out(self, names: Sequence[str]) -> bool:
        """Whether there is no time for these stages, which then count as unfinished; for what an earlier run has
        finished no time is needed.
        """
        if not self.out_of_time or any((self.folder / f"{name}.pt").exists() for name in names):
            return False
        self.unfinished.extend(names)
        return True

    def finished(self, name: str) -> State | None:
        """`weights` and `seconds` of a finished stage."""
        return self._read(name, f"{name}.pt")

    def finish(self, name: str, model: nn.Module, seconds: float) -> None:
        """Keep the weights of a stage that is done, unless the budget ended it."""
        if name not in self.unfinished:
            self._write(f"{name}.pt", {"weights": model.state_dict(), "seconds": seconds})
            (self.folder / f"{name}.position.pt").unlink(missing_ok=True)

    def position(self, name: str) -> State | None:
        """What `keep_position` kept."""
        return self._read(name, f"{name}.position.pt")

    def keep_position(self, name: str, state: State) -> None:
        """Keep where a stage is."""
        self._write(f"{name}.position.pt", state)

    def _read(self, name: str, file: str) -> State | None:
        """None when there is no such file; one that is damaged counts as missing."""
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
    """Put weights of other shapes into a model of the same structure, in place, as pruning left them."""
    for name, value in weights.items():
        parent, _, last = name.rpartition(".")
        module = model.get_submodule(parent)
        if last in module._parameters:
            setattr(module, last, nn.Parameter(value.clone()))
            _note_sizes(module)


def embedding_sizes(module: nn.Embedding) -> None:
    """Tell an embedding the shape of its table."""
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _note_sizes(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.Embedding):
        embedding_sizes(module)
