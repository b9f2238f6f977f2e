"""A candidate's draft bundle: the three files that serving needs."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from components.bundle import TOKENIZER, BundleInfo, write_info
from components.errors import BadInput


def write_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write `tokenizer.json`.

    Raises:
        BadInput: the tokenizer has no such form.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BadInput(
            f"{type(tokenizer).__name__} has no tokenizer.json, which serving needs; choose an encoder with a fast one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / TOKENIZER))


def write_draft_info(
    folder: Path, checkpoint_info: dict[str, Any], model_name: str, code_version: str, variant: str, precision: str
) -> BundleInfo:
    """Write `bundle.json` with what the checkpoint knows; returns it. Metrics and latency are still unknown."""
    info = BundleInfo(
        model_name=model_name,
        labels=checkpoint_info["labels"],
        max_length=checkpoint_info["max_length"],
        precision=precision,
        variant=variant,
        encoder=checkpoint_info.get("encoder", ""),
        dataset_digest=checkpoint_info["dataset_digest"],
        code_version=code_version,
        mlflow_run_id=checkpoint_info.get("mlflow_run_id", ""),
    )
    write_info(folder, info)
    return info
