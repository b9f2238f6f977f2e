"""The step evaluate with real bundles and a real MLflow registry."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import INFO, MODEL, Bundle
from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.evaluate import report, step
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.platforms.model_registry import Registry
from tests.components.present import present

Promote = Callable[..., Path]
SETTINGS = EvaluateSettings(bootstrap_samples=500)


@pytest.fixture(scope="session")
def registry_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    Registry(f"sqlite:///{folder}/mlflow.db", "messages")
    return folder / "mlflow.db"


@pytest.fixture
def registry(registry_database: Path, tmp_path: Path) -> Registry:
    shutil.copy(registry_database, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", "messages")


@pytest.fixture
def keys(tmp_path: Path) -> signing.KeyPair:
    return signing.key_pair(tmp_path / "keys")


@pytest.fixture
def promote(registry: Registry, keys: signing.KeyPair, tmp_path: Path) -> Promote:
    """Make a draft, signed, the champion; returns where its bundle is."""

    def function(
        draft: Path,
        dataset_digest: str = "",
        signer: signing.KeyPair = keys,
        folder: str = "champion",
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> Path:
        bundle = shutil.copytree(draft, tmp_path / folder)
        signing.sign(bundle, signer.private_key)
        digest = Bundle(bundle).digest()
        registry.promote(registry.register(str(bundle), digest, {"dataset_digest": dataset_digest, **tags}))
        return bundle

    return function


def with_labels(draft: Path, folder: Path, labels: Sequence[str]) -> Path:
    """A copy of a draft whose answers carry other names."""
    shutil.copytree(draft, folder)
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | {"labels": list(labels)}))
    return folder


def evaluate(
    draft: Path, dataset: TextDataset, tmp_path: Path, settings: EvaluateSettings = SETTINGS
) -> EvaluateResult:
    registry = (f"sqlite:///{tmp_path}/mlflow.db", "messages")
    return step.run(draft, dataset.folder, settings, *registry, tmp_path / "keys" / "public.pem")


@pytest.mark.usefixtures("registry")
def test_the_first_good_challenger_passes_by_the_floor(
    draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    result = evaluate(draft_bundle, small_dataset, tmp_path)
    assert result.gate.passed
    assert result.champion is None
    assert result.difference is None
    assert result.challenger.macro_f1 > 0.9
    assert [check.name for check in result.gate.checks] == [
        "macro-F1",
        "lowest recall of a class",
        "calibration error",
        "drop by typing errors",
    ]
    json.dumps(result.to_json(), allow_nan=False)
    assert EvaluateResult.model_validate(result.to_json()) == result


@pytest.mark.usefixtures("registry")
def test_a_challenger_with_shuffled_labels_is_refused_and_the_page_says_why(
    draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    shuffled = with_labels(draft_bundle, tmp_path / "bad", ["delivery", "account", "billing"])
    result = evaluate(shuffled, small_dataset, tmp_path)
    assert not result.gate.passed
    assert f"is below the floor {SETTINGS.min_macro_f1:.3f}" in result.gate.reasons[0]
    assert len(result.mistakes) == step.MISTAKES_SHOWN
    first = result.mistakes[0]
    assert first.explanation
    assert first.explanation.label == first.predicted
    assert f"What spoke for {first.predicted} where {first.label} is right" in report.section(result)
    assert "The gate refuses the challenger: macro-F1" in report.section(result)


def test_a_challenger_is_compared_with_the_champion_text_by_text(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(draft_bundle, small_dataset.digest)
    shuffled = with_labels(draft_bundle, tmp_path / "bad", ["delivery", "account", "billing"])
    result = evaluate(shuffled, small_dataset, tmp_path)
    assert not result.gate.passed
    champion = present(result.champion)
    assert champion.version == "1"
    assert champion.same_data
    difference = present(result.difference).macro_f1
    assert difference.low <= difference.value <= difference.high < -0.5
    assert difference.value == pytest.approx(result.challenger.macro_f1 - champion.macro_f1)
    page = report.section(result)
    assert "champion 1" in page
    assert "trained on other data" not in page


def test_a_better_challenger_replaces_a_bad_champion(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(with_labels(draft_bundle, tmp_path / "bad", ["delivery", "account", "billing"]))
    result = evaluate(draft_bundle, small_dataset, tmp_path)
    assert result.gate.passed
    assert present(result.difference).macro_f1.low > 0.5
    assert "trained on other data" in report.section(result)


def test_small_losses_that_add_up_since_the_best_version_are_refused(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    best = promote(draft_bundle, folder="best", tags={"test_macro_f1": "0.9"})
    promote(
        with_labels(draft_bundle, tmp_path / "bad", ["delivery", "account", "billing"]), tags={"test_macro_f1": "0.2"}
    )
    challenger = with_labels(draft_bundle, tmp_path / "worse", ["delivery", "billing", "account"])
    settings = SETTINGS.model_copy(update={"max_drop": 0.3})
    result = evaluate(challenger, small_dataset, tmp_path, settings)
    found = present(result.best)
    assert (found.version, found.recorded, found.same_data) == ("1", 0.9, False)
    assert found.drop == pytest.approx(present(found.macro_f1) - result.challenger.macro_f1)
    checks = {check.name: check.passed for check in result.gate.checks}
    assert (checks["macro-F1 against the champion"], checks["macro-F1 against the best so far"]) == (True, False)
    assert not checks["macro-F1"], "the floor holds beside a champion"
    assert "and was tested on this test split now" in report.section(result)
    shutil.rmtree(best)
    result = evaluate(challenger, small_dataset, tmp_path, settings)
    assert "best does not exist" in present(result.best).why_not
    assert "macro-F1 against the best so far" not in [check.name for check in result.gate.checks]
    assert "was not compared: its bundle cannot be used" in report.section(result)


def test_a_challenger_identical_to_the_champion_passes_and_says_so(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(draft_bundle)
    strict = EvaluateSettings(min_class_recall=1, max_calibration_error=0, bootstrap_samples=500)
    result = evaluate(draft_bundle, small_dataset, tmp_path, strict)
    assert result.identical_to_champion == "1"
    assert result.gate.passed
    assert "byte for byte" in result.gate.reasons[0]
    assert "The challenger is the champion, version 1." in report.section(result)


def test_a_champion_that_lacks_a_label_is_wrong_on_its_texts(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(with_labels(draft_bundle, tmp_path / "old", ["billing", "delivery", "login"]))
    result = evaluate(draft_bundle, small_dataset, tmp_path)
    champion = present(result.champion)
    assert champion.labels_it_lacks == ["account"]
    assert champion.labels_now_gone == ["login"]
    assert champion.accuracy == pytest.approx(result.challenger.accuracy - 1 / 3, abs=0.05)
    assert champion.confusion[2][:3] == [0, 0, 0]
    page = report.section(result)
    assert "does not know the labels account" in page
    assert "also answers login" in page


def test_labels_in_another_order_change_nothing(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(draft_bundle)
    splits = {
        split: (small_dataset.texts(split), [2 - label for label in small_dataset.label_ids(split)])
        for split in ("train", "validation", "test")
    }
    turned = write_dataset(tmp_path / "turned", splits, small_dataset.labels[::-1], {})
    result = evaluate(draft_bundle, turned, tmp_path)
    assert result.challenger.macro_f1 > 0.9
    assert present(result.champion).macro_f1 == result.challenger.macro_f1


def test_a_champion_whose_bundle_is_gone_or_changed_stops_the_step_with_a_way_out(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    bundle = promote(draft_bundle)
    (bundle / MODEL).write_bytes((bundle / MODEL).read_bytes() + b"\0")
    with pytest.raises(
        BadInput, match="champion 1 at .*champion is not what was registered .*altered.*; restore it, or take"
    ):
        evaluate(draft_bundle, small_dataset, tmp_path)
    shutil.rmtree(bundle)
    with pytest.raises(BadInput, match="bundle of champion 1 cannot be read .*champion does not exist"):
        evaluate(draft_bundle, small_dataset, tmp_path)


def test_a_champion_that_somebody_else_signed_and_registered_is_not_loaded(
    draft_bundle: Path, small_dataset: TextDataset, promote: Promote, tmp_path: Path
) -> None:
    promote(draft_bundle, signer=signing.key_pair(tmp_path / "other keys"))
    with pytest.raises(BadInput, match="not what was registered .*signed with another key"):
        evaluate(draft_bundle, small_dataset, tmp_path)


@pytest.mark.usefixtures("registry")
def test_an_empty_test_split_is_named(draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path) -> None:
    splits: dict[str, Any] = {
        split: (small_dataset.texts(split), small_dataset.label_ids(split)) for split in ("train", "validation")
    }
    empty = write_dataset(tmp_path / "empty", splits | {"test": ([], [])}, small_dataset.labels, {})
    with pytest.raises(BadInput, match="the test split of .* is empty"):
        evaluate(draft_bundle, empty, tmp_path)


@pytest.mark.usefixtures("registry")
def test_a_model_that_answers_with_nan_is_not_scored(
    draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(draft_bundle, tmp_path / "broken"))
    model = onnx.load(broken / MODEL)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT:
            weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * float("nan"), weights.name))
    onnx.save(model, broken / MODEL)
    with pytest.raises(SlipwayError, match="not numbers"):
        evaluate(broken, small_dataset, tmp_path)


CHECKS = {
    "macro-F1": {"min_macro_f1": 1.0},
    "lowest recall of a class": {"min_class_recall": 1.0},
    "calibration error": {"max_calibration_error": 0.0},
    "drop by typing errors": {"max_typo_drop": 0.0, "typo_rate": 1.0},
    "recognition of training texts": {"max_membership_auc": 0.5},
}


@pytest.mark.usefixtures("registry")
def test_each_check_of_the_gate_can_refuse_in_the_step(
    draft_bundle: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    mixed = with_labels(draft_bundle, tmp_path / "mixed", ["delivery", "billing", "account"])
    members = {"train": [0, 1, 2], "test": [1, 0, 2], "validation": []}  # it knows the training texts' labels alone
    splits = {
        name: (small_dataset.texts(name), [labels[i] for i in small_dataset.label_ids(name)] if labels else [])
        for name, labels in members.items()
        if labels
    }
    told = write_dataset(tmp_path / "told", splits | {"validation": ([], [])}, ["billing", "delivery", "account"], {})
    for name, limit in CHECKS.items():
        draft, data = (draft_bundle, told) if name.startswith("recognition") else (mixed, small_dataset)
        settings = EvaluateSettings(bootstrap_samples=200, **limit)
        gate = evaluate(draft, data, tmp_path, settings).gate
        assert name in [check.name for check in gate.checks if not check.passed]
        assert not gate.passed
