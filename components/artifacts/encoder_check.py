"""Looks into an encoder before a run, for what would end the run late, or make its model answer wrongly."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from slipway.components.artifacts.checkpoint import load_config, load_tokenizer
from slipway.components.artifacts.encoder import HUB_SECONDS, commit_of, encoder_folder, split_revision
from slipway.components.errors import BadInput

DECODERS = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3"})
"""Architectures of decoders whose exported classifiers give a text the same logits in a batch as alone, as tested. They
classify by the vector of the last token before the padding."""

FIXED_POSITIONS = {
    "albert",
    "bert",
    "camembert",
    "distilbert",
    "electra",
    "gpt2",
    "mpnet",
    "opt",
    "roberta",
    "xlm-roberta",
}
"""Architectures with an embedding for each position, and so with a greatest length."""
AFTER_PADDING = {"camembert", "mpnet", "roberta", "xlm-roberta"}
"""Those of them that count positions from the id of the padding token on."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Suffixes of weights that are pickled, so that loading them can run code."""


def check_encoder(name: str, max_length: int = 0) -> None:
    """Check, before any work is done, that an encoder can be trained, exported and served.

    Args:
        name: a packaged encoder, a folder, an address on S3, or a name on a hub.
        max_length: most tokens of a text; 0 when it is not known yet.

    Raises:
        BadInput: it cannot be. The message says why, and what to do.
    """
    folder = encoder_folder(name)
    config = load_config(folder)
    _check_architecture(name, config)
    _check_weights(name, _files(folder))
    _check_tokenizer(name, folder, config)
    _check_length(name, config, max_length)


def _check_architecture(name: str, config: PretrainedConfig) -> None:
    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        raise BadInput(
            f"encoder {name!r} is a {kind}, an encoder with a decoder, which Slipway cannot serve; give an encoder, "
            "such as a BERT, RoBERTa or DeBERTa"
        )
    if kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise BadInput(
            f"encoder {name!r} is a {kind}, for which the library transformers has no classifier of texts; give an "
            "encoder, such as a BERT, RoBERTa or DeBERTa"
        )
    is_decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if is_decoder and kind not in DECODERS:
        raise BadInput(
            f"encoder {name!r} is a {kind}, a decoder that is not known to be served as it was trained; give an "
            f"encoder such as a BERT, or one of the decoders {', '.join(sorted(DECODERS))}"
        )


def _check_weights(name: str, files: Sequence[str] | None) -> None:
    if files is None or any(file.endswith(".safetensors") for file in files):
        return
    pickled = next((file for file in files if file.endswith(PICKLES)), "")
    if pickled:
        raise BadInput(
            f"encoder {name!r} has no weights in a .safetensors file, only {pickled}, a pickle, which can run code "
            'when it is loaded. If you trust it, convert it: python -c "from transformers import AutoModel as A; '
            f"A.from_pretrained('{name}').save_pretrained('{name}')\""
        )
    raise BadInput(f"encoder {name!r} has no weights in a .safetensors file; save the model again with them")


def _check_tokenizer(name: str, folder: str, config: PretrainedConfig) -> None:
    tokenizer = load_tokenizer(folder)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise BadInput(
            f"the tokenizer of encoder {name!r} ({type(tokenizer).__name__}) has no tokenizer.json, which serving "
            "needs; choose an encoder with a fast tokenizer"
        )
    vocabulary = tokenizer.get_vocab()
    if set(vocabulary) <= set(tokenizer.all_special_tokens):
        # Without files transformers makes up a tokenizer.
        raise BadInput(
            f"encoder {name!r} has no tokenizer files, so that every word would be unknown; save the tokenizer into "
            "its folder with save_pretrained, too"
        )
    rows, highest = getattr(config, "vocab_size", None), max(vocabulary.values())
    if rows is not None and highest >= rows:
        words = sorted(token for token, index in vocabulary.items() if index >= rows)
        raise BadInput(
            f"the tokenizer of encoder {name!r} has tokens up to the id {highest}, such as {words[0]!r}, but the "
            f"model has embeddings for {rows} tokens; call resize_token_embeddings({highest + 1}) on it and save it "
            "again"
        )


def _check_length(name: str, config: PretrainedConfig, max_length: int) -> None:
    if config.model_type not in FIXED_POSITIONS:
        return
    positions = int(config.max_position_embeddings)
    if config.model_type in AFTER_PADDING:
        positions -= int(config.pad_token_id) + 1
    if max_length > positions:
        raise BadInput(
            f"encoder {name!r} takes texts of at most {positions} tokens, but max_length is {max_length}; set "
            f"train.max_length to {positions} or less"
        )


def _files(folder: str) -> list[str] | None:
    """Names of an encoder's files, in a folder or on a hub; None if the hub does not say."""
    if Path(folder).is_dir():
        return [path.name for path in Path(folder).iterdir()]
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(split_revision(folder)[0], revision=commit_of(folder), timeout=HUB_SECONDS)
    except Exception:  # it is in the cache only; the classes of errors differ between versions of the library
        return None
    return None if info.siblings is None else [sibling.rfilename for sibling in info.siblings]
