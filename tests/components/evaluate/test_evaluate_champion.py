"""When two models are the same, and what is known of the champion beside its scores."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import INFO, MODEL, TOKENIZER, Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.evaluate.champion import fetch, same_model, scores_of
from slipway.components.evaluate.result import ModelScores
from slipway.components.platforms.model_registry import Version
from tests.components import step_results


def altered(draft: Path, folder: Path, **changes: Any) -> Bundle:
    """A copy of a draft with other words in its `bundle.json`, or another byte at the end of a file."""
    shutil.copytree(draft, folder)
    for name in (MODEL, TOKENIZER):
        if name in changes:
            (folder / name).write_bytes((folder / name).read_bytes() + changes.pop(name))
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | changes))
    return Bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["delivery", "billing", "account"]},
        {"max_length": 31},
        {"dataset_digest": "sha256:other"},
        {MODEL: b"\0"},
        {TOKENIZER: b" "},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_models_that_differ_in_what_they_answer_or_learned_are_not_the_same(
    draft_bundle: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert not same_model(Bundle(draft_bundle), altered(draft_bundle, tmp_path / "other", **changes))


def test_models_that_differ_in_how_they_came_about_are_the_same(draft_bundle: Path, tmp_path: Path) -> None:
    other = altered(draft_bundle, tmp_path / "other", run="later", mlflow_run_id="1" * 32, metrics={"test_f1": 0.5})
    assert same_model(Bundle(draft_bundle), other)


def test_a_champion_is_what_was_registered_or_is_told_with_a_way_out(draft_bundle: Path, tmp_path: Path) -> None:
    keys, place = signing.key_pair(tmp_path / "keys"), shutil.copytree(draft_bundle, tmp_path / "stored")
    keys.sign(place)
    digest = Bundle(place).digest()
    champion = Version("7", str(place), digest)
    assert fetch(champion, "messages", keys.public_key, tmp_path / "a").digest() == digest
    way_out = "; restore it, or take the alias champion from version 7 in MLflow"
    for other, name in ((Version("7", str(place), f"sha256:{'0' * 64}"), "messages"), (champion, "letters")):
        with pytest.raises(BadInput, match=rf"champion 7 at .*stored is not what was registered \(.*\){way_out}"):
            fetch(other, name, keys.public_key, tmp_path / "b")
    shutil.rmtree(place)
    with pytest.raises(BadInput, match=rf"the bundle of champion 7 cannot be read \(.*\){way_out}"):
        fetch(champion, "messages", keys.public_key, tmp_path / "c")


@pytest.mark.parametrize("same", [True, False])
def test_a_reader_is_told_of_other_data_and_other_labels(small_dataset: TextDataset, same: bool) -> None:
    tags = {"dataset_digest": small_dataset.digest if same else "sha256:other"}
    champion = Version("7", "/bundles/7", "sha256:7", tags)
    first, *others = small_dataset.labels
    scores = ModelScores.model_validate(step_results.evaluate(["billing", "delivery"])["challenger"])
    found = scores_of(champion, scores, [*others, "praise"], small_dataset).model_dump()
    told = {"version": "7", "same_data": same, "labels_it_lacks": [first], "labels_now_gone": ["praise"]}
    assert found == scores.model_dump() | told
