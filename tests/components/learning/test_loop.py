"""The training loop in one process."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import SlipwayError
from slipway.components.learning import loop, training_checkpoints
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.evaluation import Scores
from slipway.components.learning.loop import Training, use_reproducible_cpu
from slipway.components.learning.optimisation import build_model
from slipway.components.learning.settings import TrainSettings
from slipway.components.learning.training_checkpoints import CheckpointStore, exclusive


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    use_reproducible_cpu(1)
    yield
    torch.use_deterministic_algorithms(False)


def training_of(encoder: Path, dataset: TextDataset, **changes: object) -> Training:
    values = {"encoder": str(encoder), "max_length": 32, "epochs": 3, "learning_rate": 2e-3, "head_factor": 1}
    settings = TrainSettings.model_validate(values | {"checkpoint_every": 3} | changes)
    tokenizer = load_tokenizer(encoder)
    texts, validation = (
        EncodedTexts(dataset.texts(split), dataset.label_ids(split), tokenizer, 32) for split in ("train", "validation")
    )
    model = build_model(settings, dataset.labels)
    return Training(model, texts, validation, settings, Accelerator(cpu=True))


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.core.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class Saver:
    """Saves like the worker, and ends the training after some updates as a kill would."""

    def __init__(self, store: CheckpointStore, updates: int) -> None:
        self.store, self.updates = store, updates

    def updated(self, training: Training) -> None:
        if training.position.updates % training.settings.checkpoint_every == 0:
            self.store.save(training)
        if training.position.updates == self.updates:
            raise KeyboardInterrupt

    def evaluated(self, training: Training, improved: bool) -> None:
        if improved:
            self.store.save_best(training)
        self.store.save(training)


@pytest.fixture
def killed(tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path) -> CheckpointStore:
    """Checkpoints of a training that ended after 14 of 24 updates, in the second epoch."""
    store = CheckpointStore(tmp_path, "digest")
    with pytest.raises(KeyboardInterrupt):
        training_of(tiny_encoder, small_dataset).fit(Saver(store, 14))
    return store


def test_it_learns(tiny_encoder: Path, small_dataset: TextDataset) -> None:
    training = training_of(tiny_encoder, small_dataset, epochs=12, patience=12)
    training.fit()
    curve = training.position.validation
    assert [(point["epoch"], point["update"]) for point in curve[:4]] == [(1, 4), (1, 8), (2, 12), (2, 16)]
    assert len(curve) == 24
    assert curve[-1]["macro_f1"] > 0.8
    assert training.position.training[-1]["learning_rate"] < training.position.training[5]["learning_rate"]


def test_accumulated_batches_make_the_update_of_one_large_batch(tiny_encoder: Path, small_dataset: TextDataset) -> None:
    after = []
    for group in ([[np.arange(12)]], [[np.arange(5)], [np.arange(5, 12)]]):
        training = training_of(tiny_encoder, small_dataset)
        training.model.train(False)  # no dropout, which would differ
        loss = training._update(group)
        after.append((loss, weights(training)))
    (one_loss, one), (two_loss, two) = after
    assert one_loss == pytest.approx(two_loss, rel=1e-5)
    assert all(torch.allclose(one[name], two[name], atol=2e-5) for name in one)


@pytest.mark.parametrize("evaluations", [1, 2, 4])
def test_it_stops_after_evaluations_without_gain_and_knows_the_best(
    tiny_encoder: Path, small_dataset: TextDataset, monkeypatch: pytest.MonkeyPatch, evaluations: int
) -> None:
    scores = iter([(0.5, 1.0), (0.7, 0.9), (0.7, 0.8), (0.6, 0.1), (0.7, 0.8), (0.9, 0.1)])

    def scripted(*_: object) -> Scores:
        macro_f1, loss = next(scores)
        return Scores(loss=loss, macro_f1=macro_f1, accuracy=macro_f1)

    monkeypatch.setattr(loop, "evaluate", scripted)
    training = training_of(tiny_encoder, small_dataset, epochs=9, patience=2, evaluations=evaluations)
    training.fit()
    best = training.position.best()
    assert training.position.updates == 5 * 8 // evaluations
    assert training.position.epoch == 5 // evaluations
    assert best is not None
    assert best["update"] == 3 * 8 // evaluations, "of equal macro-F1 the lower loss, of equal losses the earlier"


def test_a_head_that_is_a_probe_is_evaluated_before_the_first_update(
    tiny_encoder: Path, small_dataset: TextDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([(0.9, 0.1), (0.6, 0.9), (0.7, 0.9)])
    monkeypatch.setattr(
        loop, "evaluate", lambda *_: dict(zip(("macro_f1", "loss", "accuracy"), (*next(scores), 0.5), strict=True))
    )
    training = training_of(tiny_encoder, small_dataset, epochs=1, patience=1)
    training.fit(from_probe=True)
    found = [point["update"] for point in training.position.validation]
    assert found == [0, 4, 8], "below the probe, but gaining: patience does not count the probe"
    best = training.position.best()
    assert best is not None
    assert (best["epoch"], best["update"]) == (0, 0)


def test_balanced_classes_weigh_the_same_in_the_loss(tiny_encoder: Path, small_dataset: TextDataset) -> None:
    training = training_of(tiny_encoder, small_dataset, class_weights="balanced")
    training.class_weights = torch.tensor([0.0, 0.0, 2.0])
    others = np.flatnonzero(training.texts.label_ids != 2)[:8]
    assert training._update([[others]]) == 0.0


def test_a_training_that_goes_on_ends_as_if_undisturbed(
    tiny_encoder: Path, small_dataset: TextDataset, killed: CheckpointStore
) -> None:
    undisturbed = training_of(tiny_encoder, small_dataset)
    undisturbed.fit()
    resumed = training_of(tiny_encoder, small_dataset)
    assert killed.restore(resumed) == "going on from update 12"
    resumed.fit()
    assert equal(weights(resumed), weights(undisturbed))
    assert resumed.position.training == undisturbed.position.training
    assert resumed.position.validation == undisturbed.position.validation


def test_the_last_two_checkpoints_are_kept(killed: CheckpointStore) -> None:
    names = sorted(path.name for path in killed.work.glob("checkpoint-*"))
    assert names == ["checkpoint-00000009-0001", "checkpoint-00000012-0001"]


@pytest.mark.parametrize("left", [1000, 0])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tiny_encoder: Path, small_dataset: TextDataset, killed: CheckpointStore, left: int
) -> None:
    state = killed.work / "checkpoint-00000012-0001" / "state.pt"
    state.write_bytes(state.read_bytes()[:left])
    training = training_of(tiny_encoder, small_dataset)
    assert killed.restore(training) == "going on from update 9"
    assert not state.exists()


def test_a_checkpoint_of_another_training_is_not_continued(
    tiny_encoder: Path, small_dataset: TextDataset, killed: CheckpointStore
) -> None:
    training = training_of(tiny_encoder, small_dataset)
    before = weights(training)
    message = CheckpointStore(killed.work, "other").restore(training)
    assert "belongs to other data or settings" in message
    assert training.position.updates == 0
    assert equal(weights(training), before)


def test_a_checkpoint_cannot_run_code(tiny_encoder: Path, small_dataset: TextDataset, killed: CheckpointStore) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (killed.work / "attacked",))

    for folder in killed.work.glob("checkpoint-*"):
        torch.save({"model": Attack()}, folder / "state.pt")
    training = training_of(tiny_encoder, small_dataset)
    assert "cannot be used" in killed.restore(training)
    assert training.position.updates == 0
    assert not (killed.work / "attacked").exists()


def test_two_trainings_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_checkpoints, "LOCK_WAIT_SECONDS", 0.0)
    refused = pytest.raises(SlipwayError, match="another training is at work in")
    with exclusive(tmp_path), refused, exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass
