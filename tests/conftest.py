"""Small real things that many tests need: a tiny encoder, a dataset that it can learn, and its checkpoint."""

import gc
import random
import shutil
import socket
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.step_runtime import code_version, progress
from tests import slow_files

pytest.register_assert_rewrite(
    "tests.components.rollout.served_contract",
    "tests.components.rollout.target_contract",
    "tests.components.rollout.world",
    "tests.components.train.launcher_contract",
)

WORDS = {
    "billing": ["invoice", "charged", "payment", "card", "bill", "price"],
    "delivery": ["parcel", "courier", "late", "package", "tracking", "doorstep"],
    "account": ["password", "login", "email", "locked", "account", "verify"],
}
FILLER = ["please", "help", "my", "the", "was", "is", "again", "today", "why", "not"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the pipeline before anything else is loaded, where all tests are.

    For each of its tasks kfp asks `inspect.stack`, which looks at every loaded module: 2 seconds in all now, 12 later.
    """
    if hasattr(config, "workerinput"):
        import_module("slipway.pipelines.pipeline")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from what stays for the whole session: it took a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    rank = {path: number for number, path in enumerate(slow_files.listed())}
    items.sort(key=lambda item: rank.get(item.location[0], len(rank)))


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and 32 dimensions with random weights, in the Hugging Face layout."""
    from tests import small_models

    folder = tmp_path_factory.mktemp("encoder")
    small_models.write_encoder(folder)
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
    from tests import small_models

    folder = tmp_path_factory.mktemp("checkpoint")
    small_models.write_checkpoint(folder, tiny_encoder, small_dataset)
    return folder


@pytest.fixture(scope="session")
def draft_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a draft bundle, fp32; it predicts the small dataset well. Copy it before changing it."""
    from tests import small_models

    folder = tmp_path_factory.mktemp("bundle") / "draft"
    small_models.write_draft(folder, tiny_checkpoint)
    return folder


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What was reported as progress."""
    words: list[str] = []

    def listen(event: progress.Event) -> None:
        words.append(event.message)

    progress.listeners.append(listen)
    yield words
    progress.listeners.remove(listen)


@pytest.fixture
def source_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the components, which a test may change."""
    root = tmp_path / "components"
    shutil.copytree(code_version.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_version, "ROOT", root)
    return root


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server that has no buckets yet."""
    from moto.server import ThreadedMotoServer  # slow to import

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
