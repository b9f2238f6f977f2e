"""Training by DP-SGD: what it spends, what a text weighs at most, that there is noise, and that it resumes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis import rdp
from transformers import (
    AlbertConfig,
    AlbertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from slipway.components.artifacts.checkpoint import load_checkpoint, load_tokenizer, save_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import Training
from slipway.components.learning.optimisation import build_model
from slipway.components.learning.privacy_accounting import Budget, budget_of
from slipway.components.learning.private_updates import PrivateUpdates, poisson_update
from slipway.components.learning.settings import TrainSettings
from slipway.components.learning.training_checkpoints import CheckpointStore

VALUES = {"max_length": 32, "epochs": 3, "learning_rate": 2e-3, "head_factor": 1, "patience": 9, "checkpoint_every": 3}
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {
    "roberta": lambda words: RobertaModel(
        RobertaConfig(**SIZES, vocab_size=words, max_position_embeddings=40, pad_token_id=0)
    ),
    "distilbert": lambda words: DistilBertModel(
        DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=words)
    ),
    "electra": lambda words: ElectraModel(ElectraConfig(**SIZES, vocab_size=words, embedding_size=32)),
    "albert": lambda words: AlbertModel(AlbertConfig(**SIZES, vocab_size=words, embedding_size=16)),
}


@pytest.fixture(scope="session")
def calm_encoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, so that gradients can be compared."""
    folder = Path(shutil.copytree(tiny_encoder, tmp_path_factory.mktemp("calm") / "encoder"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def training_of(encoder: Path, dataset: TextDataset, secret: int | None = None, **changes: object) -> Training:
    settings = TrainSettings.model_validate(VALUES | {"encoder": str(encoder), "privacy_epsilon": 3} | changes)
    tokenizer = load_tokenizer(encoder)
    texts, validation = (
        EncodedTexts(dataset.texts(split), dataset.label_ids(split), tokenizer, 32) for split in ("train", "validation")
    )
    training = Training(build_model(settings, dataset.labels), texts, validation, settings, Accelerator(cpu=True))
    if secret is not None:
        training.position.secret = secret
    return training


def private(training: Training) -> PrivateUpdates:
    assert training.private is not None
    return training.private


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in training.core.state_dict().items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def clipped_sum(training: Training, rows: list[int]) -> torch.Tensor:
    """The sum of the clipped gradients of some texts, before noise."""
    optimizer = private(training).optimizer
    training.model.train()
    optimizer.zero_grad()
    private(training)._gradients(np.array(rows, dtype=np.int64))
    optimizer.clip_and_accumulate()
    found = flat([parameter.summed_grad for parameter in optimizer.params])
    optimizer.zero_grad()
    return found


class TestBudget:
    """What the accountant says."""

    @pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
    def test_it_is_spent_by_all_updates_and_never_exceeded(self, epsilon: float) -> None:
        budget = budget_of(TrainSettings(privacy_epsilon=epsilon, epochs=3), texts=2000, updates_per_epoch=125)
        assert (budget.sampling_rate, budget.updates, budget.delta) == (1 / 125, 375, 1 / 4000)
        assert epsilon - 0.011 <= budget.epsilon(375) <= epsilon
        assert budget.epsilon(100) < budget.epsilon(374) < budget.epsilon(375)
        assert budget.epsilon(0) == 0

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_what_is_spent_is_what_the_accountant_finds_update_by_update(self) -> None:
        budget = Budget(1e-4, 1.0, 0.9, 0.02, 300)
        accountant = RDPAccountant()
        for _ in range(40):
            accountant.step(noise_multiplier=0.9, sample_rate=0.02)
        spent = budget.spent(40)
        assert spent.epsilon_spent == pytest.approx(accountant.get_epsilon(1e-4))
        orders = RDPAccountant.DEFAULT_ALPHAS
        whole = rdp.compute_rdp(q=0.02, noise_multiplier=0.9, steps=300, orders=orders)
        assert spent.epsilon == pytest.approx(rdp.get_privacy_spent(orders=orders, rdp=whole, delta=1e-4)[0])
        assert (spent.updates, spent.updates_planned) == (40, 300)

    @pytest.mark.parametrize("delta", [0.01, 0.5])
    def test_a_delta_that_protects_nobody_is_refused(self, delta: float) -> None:
        with pytest.raises(BadInput, match=rf"privacy_delta={delta:g} .* below 1.0e-02, or to 0 for 5.0e-03"):
            budget_of(TrainSettings(privacy_epsilon=1, privacy_delta=delta), texts=100, updates_per_epoch=10)

    def test_an_epsilon_out_of_reach_is_refused(self) -> None:
        with pytest.raises(BadInput, match="privacy_epsilon=0.01 cannot be reached"):
            budget_of(TrainSettings(privacy_epsilon=0.01), texts=2000, updates_per_epoch=100)


class TestSample:
    """The Poisson sample of an update."""

    def test_each_text_is_in_an_update_with_the_rate_and_in_one_batch(self) -> None:
        lengths = np.random.default_rng(0).integers(3, 60, 100)
        counts, sizes = np.zeros(100), []
        for update in range(400):
            steps = poisson_update(lengths, 0.2, 4, 2, np.random.default_rng(update))
            assert all(len(shard) <= 4 for shards in steps for shard in shards)
            drawn = np.concatenate([shard for shards in steps for shard in shards])
            assert len(set(drawn)) == len(drawn)
            counts[drawn] += 1
            sizes.append(len(drawn))
        assert abs(counts / 400 - 0.2).max() < 4.5 * np.sqrt(0.2 * 0.8 / 400)
        assert np.var(sizes) == pytest.approx(100 * 0.2 * 0.8, rel=0.25), "their number varies as a binomial's"

    def test_other_processes_share_the_same_sample(self) -> None:
        one, two = (poisson_update(np.arange(90), 0.3, 8, n, np.random.default_rng(5)) for n in (1, 2))
        drawn = [sorted(i for shards in steps for shard in shards for i in shard) for steps in (one, two)]
        assert drawn[0] == drawn[1]

    def test_it_may_be_empty(self) -> None:
        (shards,) = poisson_update(np.arange(1, 9), 0.0, 4, 2, np.random.default_rng(0))
        assert [len(shard) for shard in shards] == [0, 0]


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_one_text_more_changes_the_sum_by_the_norm_at_most(
    calm_encoder: Path, small_dataset: TextDataset, scale: float
) -> None:
    training = training_of(calm_encoder, small_dataset, privacy_gradient_norm=0.1)
    with torch.no_grad():
        head = training.core.get_parameter("classifier.weight")
        head.mul_(scale)  # a text that is taken for another class has a huge loss
    differences = []
    for row in range(8, 14):
        without, with_it = (clipped_sum(training, rows) for rows in (list(range(8)), [*range(8), row]))
        differences.append(float((with_it - without).norm()))
    assert max(differences) <= 0.1 * 1.001
    assert max(differences) > 0.099, "the bound was put to the test"


def test_batches_of_an_update_make_the_sum_of_one_batch(calm_encoder: Path, small_dataset: TextDataset) -> None:
    after = []
    for batch_size in (4, 64):
        training = training_of(calm_encoder, small_dataset, secret=3)
        group = poisson_update(private(training).texts.lengths, 0.2, batch_size, 1, np.random.default_rng(0))
        private(training).update(group, 3, 0)
        after.append((len(group), weights(training)))
    (many, one), (single, other) = after
    assert many > single == 1
    assert all(torch.allclose(one[name], other[name], atol=2e-5) for name in one)


def test_there_is_noise_of_the_size_that_was_accounted_for(calm_encoder: Path, small_dataset: TextDataset) -> None:
    training = training_of(calm_encoder, small_dataset, privacy_gradient_norm=0.5)
    found: list[torch.Tensor] = []
    engine = private(training)
    engine.optimizer.attach_step_hook(lambda optimizer: found.append(flat([p.grad for p in optimizer.params])))
    training.model.train()
    empty = [[np.array([], dtype=np.int64)]]
    assert engine.update(empty, 1, 0) == 0.0
    engine.update(empty, 1, 1)
    engine.update(empty, 1, 0)
    expected = engine.budget.noise_multiplier * 0.5 / (engine.budget.sampling_rate * 120)
    assert float(found[0].std()) == pytest.approx(expected, rel=0.02)
    assert float(found[0].mean()) == pytest.approx(0, abs=4 * expected / len(found[0]) ** 0.5)
    assert abs(float((found[0] * found[1]).mean())) < 4 * expected**2 / len(found[0]) ** 0.5, "fresh in each update"
    assert torch.equal(found[0], found[2]), "an update that is repeated has the same noise"


def test_the_noise_does_not_follow_from_the_settings(tiny_encoder: Path, small_dataset: TextDataset) -> None:
    one, other = (training_of(tiny_encoder, small_dataset, epochs=1) for _ in range(2))
    assert one.position.secret != other.position.secret
    for training in (one, other):
        training.fit()
    assert not equal(weights(one), weights(other))


def test_it_learns_and_the_model_is_an_ordinary_checkpoint(
    tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    training = training_of(tiny_encoder, small_dataset, secret=1, epochs=12, patience=12, batch_size=8, accumulation=2)
    private(training).optimizer.noise_multiplier = 0.0  # 120 texts would drown in it
    training.fit()
    assert training.position.updates == 96
    assert max(point["macro_f1"] for point in training.position.validation) > 0.8
    info = {"labels": small_dataset.labels, "dataset_digest": small_dataset.digest, "max_length": 32}
    save_checkpoint(tmp_path, training.core, load_tokenizer(tiny_encoder), info)
    loaded, _, _ = load_checkpoint(tmp_path)
    assert equal(dict(loaded.state_dict()), weights(training))


class Killer:
    """Saves checkpoints, and ends the training as a kill would."""

    def __init__(self, store: CheckpointStore, updates: int) -> None:
        self.store, self.updates = store, updates

    def updated(self, training: Training) -> None:
        if training.position.updates % 3 == 0:
            self.store.save(training)
        if training.position.updates == self.updates:
            raise KeyboardInterrupt

    def evaluated(self, training: Training, improved: bool) -> None:
        pass


def test_a_killed_training_goes_on_with_the_same_noise_and_spends_the_same(
    tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    killed, undisturbed = (training_of(tiny_encoder, small_dataset, secret=2**127 + 9) for _ in range(2))
    store = CheckpointStore(tmp_path, "digest")
    with pytest.raises(KeyboardInterrupt):
        killed.fit(Killer(store, 14))
    undisturbed.fit()
    resumed = training_of(tiny_encoder, small_dataset)
    assert store.restore(resumed) == "going on from update 12"
    assert resumed.position.secret == 2**127 + 9
    resumed.fit()
    assert equal(weights(resumed), weights(undisturbed))
    spent = [private(each).budget.spent(each.position.updates) for each in (resumed, undisturbed)]
    assert spent[0] == spent[1]
    assert spent[0].epsilon_spent == spent[0].epsilon <= 3


@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_of_other_families_give_the_gradient_of_each_text(
    family: str, tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(tmp_path)
    FAMILIES[family](len(tokenizer)).save_pretrained(tmp_path)
    training = training_of(tmp_path, small_dataset)
    assert np.isfinite(private(training).update(private(training).batches(1, 0), 1, 0))


def test_an_encoder_without_gradients_of_single_texts_is_refused(
    tiny_encoder: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(tiny_encoder)
    tokenizer.save_pretrained(tmp_path)
    positions: dict[str, Any] = {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["c2p", "p2c"]}
    DebertaV2Model(DebertaV2Config(**SIZES, **positions, vocab_size=len(tokenizer))).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=r"cannot be trained privately: .*missing or wrong.* use a BERT"):
        training_of(tmp_path, small_dataset)


def test_nothing_of_it_touches_a_training_without_privacy(tiny_encoder: Path, small_dataset: TextDataset) -> None:
    after = []
    for norm in (1, 5):
        training = training_of(tiny_encoder, small_dataset, privacy_epsilon=0, epochs=1, privacy_gradient_norm=norm)
        training.fit()
        assert training.private is None
        assert training.position.secret == 0
        assert not hasattr(next(training.core.parameters()), "grad_sample")
        after.append(weights(training))
    assert equal(*after)
