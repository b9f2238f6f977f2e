"""An update of a private training that processes share is that of one process: same texts, and noise added once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slipway.components.artifacts.dataset import TextDataset
from tests.conftest import free_port

pytestmark = pytest.mark.local

UPDATE = """
import os
import sys
from pathlib import Path
import torch
from accelerate import Accelerator
from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import Training, use_reproducible_cpu
from slipway.components.learning.optimisation import build_model
from slipway.components.learning.settings import TrainSettings
encoder, dataset, output, port = sys.argv[1:]


def update(rank, processes):
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in place.items()}
    use_reproducible_cpu(1)
    accelerator, data = Accelerator(cpu=True), TextDataset(Path(dataset))
    settings = TrainSettings(
        encoder=encoder, max_length=32, privacy_epsilon=8, batch_size=8, accumulation=2 // processes
    )
    texts = EncodedTexts(data.texts("train"), data.label_ids("train"), load_tokenizer(encoder), 32)
    training = Training(build_model(settings, data.labels), texts, None, settings, accelerator)
    private, gradients = training.private, []
    private.optimizer.attach_step_hook(
        lambda optimizer: gradients.append(torch.cat([parameter.grad.flatten() for parameter in optimizer.params]))
    )
    loss = private.update(private.batches(5, 0), 5, 0)
    nothing = [[indices[:0] for indices in private.batches(5, 1)[0]]]
    private.update(nothing, 5, 1)
    size = private.budget.noise_multiplier / (private.budget.sampling_rate * len(texts))
    record = {"secret": str(training.position.secret), "loss": loss, "gradient": gradients[0]}
    torch.save(record | {"noise": gradients[1] / size}, Path(output) / f"{processes}-{rank}.pt")


for processes in (1, 2):  # forks: the imports take most of the time
    torch.multiprocessing.start_processes(update, (processes,), processes, start_method="fork")
"""


def test_processes_that_share_an_update_make_that_of_one(
    tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    config = json.loads((encoder / "config.json").read_text())
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config | calm))
    places = [str(encoder), str(small_dataset.folder), str(tmp_path), str(free_port())]
    subprocess.run([sys.executable, "-c", UPDATE, *places], check=True)
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert first["secret"] == second["secret"] != alone["secret"]
    assert torch.equal(first["gradient"], second["gradient"])
    assert torch.allclose(first["gradient"], alone["gradient"], atol=1e-6)
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert float(first["noise"].std()) == pytest.approx(1, rel=0.02), "not the square root of 2"
    assert torch.equal(first["noise"], alone["noise"])
