"""An update of a private training that processes share is that of one process: same texts, and noise added once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slipway.components.artifacts.dataset import TextDataset

pytestmark = pytest.mark.local

UPDATE = """
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
encoder, dataset, output, accumulation = sys.argv[1:]
use_reproducible_cpu(1)
accelerator, data = Accelerator(cpu=True), TextDataset(Path(dataset))
settings = TrainSettings(
    encoder=encoder, max_length=32, privacy_epsilon=8, batch_size=8, accumulation=int(accumulation)
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
record = {"secret": str(training.position.secret), "loss": loss, "gradient": gradients[0], "noise": gradients[1] / size}
torch.save(record, Path(output) / f"{accelerator.num_processes}-{accelerator.process_index}.pt")
"""


def test_processes_that_share_an_update_make_that_of_one(
    tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    config = json.loads((encoder / "config.json").read_text())
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config | calm))
    for processes in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--no-python"]
        places = [str(encoder), str(small_dataset.folder), str(tmp_path), str(2 // processes)]
        subprocess.run([sys.executable, *launch, sys.executable, "-c", UPDATE, *places], check=True)
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    assert first["secret"] == second["secret"] != alone["secret"]
    assert torch.equal(first["gradient"], second["gradient"])
    assert torch.allclose(first["gradient"], alone["gradient"], atol=1e-6)
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert float(first["noise"].std()) == pytest.approx(1, rel=0.02), "not the square root of 2"
    assert torch.equal(first["noise"], alone["noise"])
