"""The tiny models of the tests' fixtures: an encoder, a checkpoint of it, and a draft bundle.

They stand by themselves, since PyTorch and what trains take ten seconds to import, and most test files need no model.
"""

from pathlib import Path

import torch
from accelerate import Accelerator
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from slipway.components.artifacts.bundle import MODEL
from slipway.components.artifacts.checkpoint import load_checkpoint, load_tokenizer, save_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress.draft_bundle import Origin, write_draft_files
from slipway.components.compress.export import export
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import Training
from slipway.components.learning.optimisation import build_model
from slipway.components.learning.settings import TrainSettings
from tests.conftest import FILLER, WORDS


def write_encoder(folder: Path) -> None:
    """A BERT of 2 layers and 32 dimensions with random weights, in the Hugging Face layout."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *FILLER,
        *(word for topic in WORDS.values() for word in topic),
    ]
    letters = [chr(code) for code in range(97, 123)]
    vocabulary = {word: index for index, word in enumerate([*words, *letters, *(f"##{c}" for c in letters)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)  # type: ignore[no-untyped-call]
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


def write_checkpoint(folder: Path, encoder: Path, dataset: TextDataset) -> None:
    """A checkpoint of an encoder, trained on a dataset until it knows the topics."""
    settings = TrainSettings(encoder=str(encoder), max_length=32, epochs=15, learning_rate=2e-3, head_factor=1)
    tokenizer = load_tokenizer(encoder)
    torch.set_num_threads(1)  # the model is too small to share
    texts = EncodedTexts(dataset.texts("train"), dataset.label_ids("train"), tokenizer, 32)
    model = build_model(settings, dataset.labels)
    Training(model, texts, None, settings, Accelerator(cpu=True)).fit()
    info = {"labels": dataset.labels, "dataset_digest": dataset.digest, "max_length": 32}
    save_checkpoint(folder, model, tokenizer, info | {"encoder": "tiny", "mlflow_run_id": "0" * 32})


def write_draft(folder: Path, checkpoint: Path) -> None:
    """A checkpoint as a draft bundle, fp32."""
    model, tokenizer, info = load_checkpoint(checkpoint)
    write_draft_files(folder, tokenizer, Origin(info, "messages", "test").bundle_info("teacher", "fp32"))
    export(model, folder / MODEL, info["max_length"], heads=(4, 32))
