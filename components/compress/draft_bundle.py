"""The draft bundle of a variant: the three files that a model server needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from slipway.components.artifacts.bundle import TOKENIZER, BundleInfo, updated_info, write_info
from slipway.components.artifacts.normalisation import Normalisation
from slipway.components.errors import BadInput


@dataclass(frozen=True)
class Origin:
    """The origin of a variant for `bundle.json`: the checkpoint's info, the model's name and the code's version, and
    what was done to the training texts.
    """

    checkpoint_info: dict[str, Any]
    model_name: str
    code_version: str
    normalisation: Normalisation = ""

    def bundle_info(self, variant: str, precision: str) -> BundleInfo:
        """The content of `bundle.json` for a variant, without its metrics and latency, which are measured later."""
        return BundleInfo(
            model_name=self.model_name,
            labels=self.checkpoint_info["labels"],
            max_length=self.checkpoint_info["max_length"],
            normalisation=self.normalisation,
            precision=precision,
            variant=variant,
            encoder=self.checkpoint_info.get("encoder", ""),
            dataset_digest=self.checkpoint_info["dataset_digest"],
            code_version=self.code_version,
            mlflow_run_id=self.checkpoint_info.get("mlflow_run_id", ""),
            privacy=self.checkpoint_info.get("privacy"),
        )


def write_draft_files(
    folder: Path, tokenizer: PreTrainedTokenizerBase, info: BundleInfo, rewritten: str | None = None
) -> None:
    """Write `tokenizer.json` and `bundle.json`. The model is written by `export` or a quantiser.

    Args:
        folder: of the draft.
        tokenizer: the teacher's.
        info: content of `bundle.json`; the id of the tokenizer's padding token is added.
        rewritten: content of `tokenizer.json`; None for the teacher's.

    Raises:
        BadInput: the tokenizer cannot be written as `tokenizer.json`.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BadInput(
            f"{type(tokenizer).__name__} has no tokenizer.json, which serving needs; choose an encoder with a fast one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).write_text(rewritten or backend.to_str(pretty=False), "utf-8")
    write_info(folder, updated_info(info, padding_id=int(tokenizer.pad_token_id or 0)))
