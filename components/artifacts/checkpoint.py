"""Reads and writes the checkpoint folder that flows between steps, and loads the pretrained encoders for training.

model.safetensors config.json tokenizer.json …   Hugging Face layout, never pickle
slipway.json                                     labels, dataset digest, maximum length, validation scores, …
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging
from transformers.utils.hub import cached_file

from slipway.components import formats
from slipway.components.artifacts.encoder import ADVICE, commit_of, encoder_folder, split_revision
from slipway.components.clients.hub_advice import hub_advice
from slipway.components.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["encoder_folder", "load_checkpoint", "load_tokenizer", "new_classifier", "save_checkpoint"]

INFO = "slipway.json"
FORMAT = 1
"""Format of a checkpoint folder, stated in `slipway.json`; see `slipway.components.formats`."""
# transformers would warn that the weights of a new classification head are missing, which is as it should be.
logging.set_verbosity_error()  # type: ignore[no-untyped-call]
logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _unknown(encoder: str, error: Exception) -> BadInput:
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = hub_advice(error.__cause__) or f"; {ADVICE}"
    return BadInput(f"encoder {encoder!r} cannot be loaded ({first_line}){advice}")


def load_config(folder: str | Path) -> PretrainedConfig:
    """The configuration of an encoder or checkpoint.

    Raises:
        BadInput: the configuration cannot be loaded, or names code of its own.
    """
    config: PretrainedConfig = _loaded(AutoConfig, folder, "config.json")
    return config


def _loaded(kind: type[AutoConfig | AutoTokenizer], folder: str | Path, file: str) -> Any:
    """What transformers loads from a file of an encoder or checkpoint. Raises BadInput as `load_config`."""
    try:
        name, revision = split_revision(str(folder))
        if not Path(name).is_dir():
            # A hub that is not there is told within seconds, and what is checked and what is loaded are of one commit.
            revision = commit_of(str(folder))
        _refuse_code(name, revision, file)
        return kind.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unknown(str(folder), error) from error


def _refuse_code(name: str, revision: str, file: str) -> None:
    """Refuse a model that names code to run (`auto_map`), even if transformers has a class of its own for it."""
    path = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    if path and json.loads(Path(path).read_text("utf-8")).get("auto_map"):
        raise BadInput(
            f"{file} of {name} names code of its own (auto_map), which would run here with all rights; Slipway loads "
            "weights only: give an encoder that transformers knows by itself"
        )


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of an encoder or checkpoint. If it has no padding token, it pads with its end-of-text token.

    Raises:
        BadInput: the tokenizer cannot be loaded, or names code of its own.
    """
    tokenizer: PreTrainedTokenizerBase = _loaded(AutoTokenizer, folder, "tokenizer_config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _class_for(folder: str | Path) -> Any:
    """The class of the classifier for an encoder or checkpoint, which is a folder or a name on a Hugging Face hub."""
    # Imported here, since the models' code takes seconds to load, and the preflight needs configurations only.
    from transformers import AutoModelForSequenceClassification

    from slipway.components.artifacts.mean_pooled_bert import MeanPooledBert, is_mean_pooled

    config = load_config(folder)
    mean_pooled = is_mean_pooled(folder, config.model_type, config.architectures)
    return MeanPooledBert if mean_pooled else AutoModelForSequenceClassification


def new_classifier(encoder: str, labels: list[str]) -> "PreTrainedModel":
    """A pretrained encoder with a new classification head, float32. The weights of the head are random.

    Raises:
        BadInput: the encoder cannot be loaded.
    """
    try:
        name, revision = split_revision(encoder)
        model: PreTrainedModel = _class_for(encoder).from_pretrained(
            name,
            revision=revision,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            use_safetensors=True,
            dtype="float32",
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unknown(encoder, error) from error
    return model


def save_checkpoint(
    folder: str | Path, model: "PreTrainedModel", tokenizer: PreTrainedTokenizerBase, info: dict[str, Any]
) -> None:
    """Write a checkpoint folder; `info` must have `labels`, `dataset_digest` and `max_length`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    (folder / INFO).write_text(json.dumps({formats.KEY: FORMAT} | info, indent=1, ensure_ascii=False), "utf-8")


def load_checkpoint(folder: str | Path) -> tuple["PreTrainedModel", PreTrainedTokenizerBase, dict[str, Any]]:
    """The model in evaluation mode, its tokenizer and the info that `save_checkpoint` wrote.

    Raises:
        BadInput: the folder is not a checkpoint folder, or a later Slipway wrote it.
    """
    folder = Path(folder)
    try:
        info: dict[str, Any] = json.loads((folder / INFO).read_text("utf-8"))
        formats.check(folder / INFO, info, FORMAT)
        info.pop(formats.KEY, None)
        model: PreTrainedModel = _class_for(folder).from_pretrained(
            str(folder), use_safetensors=True, dtype="float32", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} is not a checkpoint folder ({error}); run the step train first") from error
    model.train(False)
    return model, load_tokenizer(folder), info
