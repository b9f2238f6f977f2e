"""The order of texts, and padding."""

from pathlib import Path

import numpy as np
import pytest

from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.errors import BadInput
from slipway.components.learning.batches import EncodedTexts, epoch_steps, group_updates, steps_per_epoch


@pytest.mark.parametrize("texts", [5, 64, 121, 333])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_text_occurs_once_in_an_epoch_and_no_process_gets_an_empty_batch(texts: int, processes: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 60, texts)
    steps = epoch_steps(lengths, 16, processes, seed=1, epoch=0)
    assert len(steps) == steps_per_epoch(texts, 16, processes)
    assert all(len(shards) == processes for shards in steps)
    assert all(0 < len(shard) <= 16 for shards in steps for shard in shards)
    seen = np.concatenate([shard for shards in steps for shard in shards])
    assert sorted(seen) == list(range(texts))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 100)

    def order(seed: int, epoch: int) -> list[int]:
        return [int(i) for shards in epoch_steps(lengths, 8, 2, seed, epoch) for shard in shards for i in shard]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_length_grouping_saves_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, 800)

    def padded(batches: list[np.ndarray]) -> int:
        return sum(len(batch) * int(lengths[batch].max()) for batch in batches)

    grouped = [shard for shards in epoch_steps(lengths, 16, 1, seed=1, epoch=0) for shard in shards]
    shuffled = np.split(np.random.default_rng(1).permutation(800), 50)
    assert padded(grouped) < 0.75 * padded(shuffled)


def test_the_last_update_of_an_epoch_may_have_fewer_batches() -> None:
    steps = epoch_steps(np.full(70, 5), 16, 1, seed=1, epoch=0)
    assert [len(group) for group in group_updates(steps, 2)] == [2, 2, 1]


def test_fewer_texts_than_processes_are_refused() -> None:
    with pytest.raises(BadInput, match="1 training texts cannot be shared among 2 processes; set train.processes to 1"):
        steps_per_epoch(1, 16, 2)


def test_a_batch_is_padded_to_its_longest_text_and_long_texts_are_cut(tiny_encoder: Path) -> None:
    texts = ["help", "please help my parcel is late", "please " * 40]
    encoded = EncodedTexts(texts, np.array([0, 1, 2]), load_tokenizer(tiny_encoder), max_length=12)
    assert list(encoded.lengths) == [3, 8, 12]
    batch = encoded.batch(np.array([0, 1]))
    assert batch.inputs["input_ids"].shape == (2, 8)
    assert batch.inputs["attention_mask"].sum(dim=1).tolist() == [3, 8]
    assert batch.labels.tolist() == [0, 1]
