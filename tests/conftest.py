"""Small real things that many tests need: a tiny encoder, a dataset that it can learn, and its checkpoint."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from moto.server import ThreadedMotoServer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from components.bundle import MODEL
from components.checkpoint import load_checkpoint, load_tokenizer, save_checkpoint
from components.compress.draft import Origin, write_draft_files
from components.compress.export import export
from components.dataset import TextDataset, write_dataset
from components.train.batches import EncodedTexts
from components.train.loop import Training
from components.train.optimisation import build_model
from components.train.settings import TrainSettings

WORDS = {
    "billing": ["invoice", "charged", "payment", "card", "bill", "price"],
    "delivery": ["parcel", "courier", "late", "package", "tracking", "doorstep"],
    "account": ["password", "login", "email", "locked", "account", "verify"],
}
FILLER = ["please", "help", "my", "the", "was", "is", "again", "today", "why", "not"]


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and 32 dimensions with random weights, in the Hugging Face layout."""
    folder = tmp_path_factory.mktemp("encoder")
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
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
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
    return folder


def messages(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts and class indices in turn; each text has two words of its topic, so that a model can learn it."""
    chance = random.Random(seed)
    texts, labels = [], []
    for index in range(count):
        topic = index % len(WORDS)
        own = chance.sample(list(WORDS.values())[topic], 2)
        words = own + chance.sample(FILLER, chance.randint(1, 5))
        chance.shuffle(words)
        texts.append(f"{' '.join(words)} {index}")
        labels.append(topic)
    return texts, labels


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> TextDataset:
    """A dataset folder: 120 training, 36 validation and 48 test texts in three topics."""
    splits = {"train": messages(120, 1), "validation": messages(36, 2), "test": messages(48, 3)}
    return write_dataset(tmp_path_factory.mktemp("dataset"), splits, list(WORDS), {"source": "tests"})


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_encoder: Path, small_dataset: TextDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder: the tiny encoder, trained on the small dataset until it knows the topics."""
    settings = TrainSettings(encoder=str(tiny_encoder), max_length=32, epochs=15, learning_rate=2e-3, head_factor=1)
    tokenizer = load_tokenizer(tiny_encoder)
    torch.set_num_threads(1)  # the model is too small to share
    texts = EncodedTexts(small_dataset.texts("train"), small_dataset.label_ids("train"), tokenizer, 32)
    model = build_model(settings, small_dataset.labels)
    Training(model, texts, None, settings, Accelerator(cpu=True)).fit()
    folder = tmp_path_factory.mktemp("checkpoint")
    info = {"labels": small_dataset.labels, "dataset_digest": small_dataset.digest, "max_length": 32}
    save_checkpoint(folder, model, tokenizer, info | {"encoder": "tiny", "mlflow_run_id": "0" * 32})
    return folder


@pytest.fixture(scope="session")
def draft_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a draft bundle, fp32; it predicts the small dataset well. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("bundle") / "draft"
    model, tokenizer, info = load_checkpoint(tiny_checkpoint)
    write_draft_files(folder, tokenizer, Origin(info, "messages", "test").bundle_info("teacher", "fp32"))
    export(model, folder / MODEL, info["max_length"], heads=(4, 32))
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server that has no buckets yet."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
