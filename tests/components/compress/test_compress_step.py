"""The step compress, whole, on the tiny checkpoint."""

import json
import shutil
from html import escape
from pathlib import Path

import numpy as np
import pytest

from slipway.components.artifacts.bundle import INFO as BUNDLE_INFO
from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.checkpoint import INFO
from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.privacy_guarantee import Privacy
from slipway.components.compress import report, step
from slipway.components.compress.result import CompressResult, VariantResult
from slipway.components.compress.settings import CompressSettings
from slipway.components.errors import BadInput
from slipway.components.learning import scores
from tests.components.present import present

QUICK = CompressSettings(
    quality_share=0.8,
    distil_epochs=3,
    recovery_epochs=1,
    learning_rate=2e-3,
    latency_rounds=5,
    train_threads=1,
    serving_threads=1,
)
PRIVACY = Privacy(
    epsilon=2.99,
    epsilon_spent=2.1,
    delta=1e-3,
    noise_multiplier=0.9,
    sampling_rate=0.1,
    gradient_norm=1.0,
    updates=20,
    updates_planned=30,
    accountant="RDP",
)


@pytest.fixture(scope="module")
def compressed(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CompressResult, Path]:
    folder = tmp_path_factory.mktemp("compressed")
    shutil.copytree(small_dataset.folder, folder / "dataset")
    info = small_dataset.info | {"normalisation": "clean-1"}
    (folder / "dataset" / "dataset.json").write_text(json.dumps(info))
    result = step.run(tiny_checkpoint, folder / "dataset", QUICK, "messages", "v1", folder / "draft")
    assert Bundle(folder / "draft").info.normalisation == "clean-1"
    return result, folder / "draft"


def errors_of(classifier: Classifier, data: TextDataset) -> float:
    """The expected calibration error on the validation split."""
    probabilities = classifier.probabilities(data.texts("validation"))
    right = probabilities.argmax(axis=1) == data.label_ids("validation")
    return scores.calibration(probabilities.max(axis=1), right)[0]


def by_name(result: CompressResult) -> dict[str, VariantResult]:
    return {candidate.name: candidate for candidate in result.candidates}


def test_every_stage_gives_a_candidate(compressed: tuple[CompressResult, Path]) -> None:
    names = ["teacher-2x32", "student-1x32", "pruned-1x32"]
    assert list(by_name(compressed[0])) == [f"{name}{precision}" for name in names for precision in ("", "+int8")]


def test_each_stage_is_smaller_than_the_one_before(compressed: tuple[CompressResult, Path]) -> None:
    found = by_name(compressed[0])
    parameters = [found[name].parameters for name in ("teacher-2x32", "student-1x32", "pruned-1x32")]
    sizes = [found[name].size_bytes for name in ("teacher-2x32", "student-1x32", "pruned-1x32")]
    assert parameters == sorted(parameters, reverse=True)
    assert len(set(parameters)) == 3
    assert sizes == sorted(sizes, reverse=True)


def test_the_output_is_the_chosen_candidate_as_a_draft_bundle(
    compressed: tuple[CompressResult, Path], small_dataset: TextDataset
) -> None:
    result, output = compressed
    chosen = by_name(result)[result.chosen]
    info = Bundle(output).info
    assert info.variant == result.chosen
    assert info.precision == ("int8" if result.chosen.endswith("int8") else "fp32")
    assert info.latency_ms == chosen.latency_ms
    assert info.dataset_digest == small_dataset.digest
    assert (info.model_name, info.code_version, info.encoder) == ("messages", "v1", "tiny")
    predicted = Classifier(output).logits(small_dataset.texts("validation")).argmax(axis=1)
    accuracy = float((predicted == small_dataset.label_ids("validation")).mean())
    assert info.reference["label"].counts == np.bincount(predicted, minlength=len(info.labels)).tolist()
    calibration = present(result.calibration)
    assert Classifier(output).temperature == pytest.approx(calibration.temperature) != 1
    assert calibration.error == pytest.approx(errors_of(Classifier(output), small_dataset))
    assert accuracy == pytest.approx(chosen.accuracy) == pytest.approx(info.metrics["validation_accuracy"])


def test_the_chosen_candidate_keeps_the_quality(compressed: tuple[CompressResult, Path]) -> None:
    result, _ = compressed
    teacher = result.candidates[0]
    assert result.floor == pytest.approx(0.8 * teacher.macro_f1)
    chosen = [candidate for candidate in result.candidates if candidate.chosen]
    assert len(chosen) == 1
    assert chosen[0].kept_at_least >= 0.8


def test_the_student_learns_from_the_teacher(compressed: tuple[CompressResult, Path]) -> None:
    assert by_name(compressed[0])["student-1x32"].macro_f1 > 0.7


def test_stages_can_be_switched_off(tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"distil": False, "prune": False})
    result = step.run(tiny_checkpoint, small_dataset.folder, settings, "messages", "v1", tmp_path / "draft")
    assert list(by_name(result)) == ["teacher-2x32", "teacher-2x32+int8"]


def test_the_report_shows_every_candidate_and_the_reasons(compressed: tuple[CompressResult, Path]) -> None:
    result, _ = compressed
    html = report.section(result)
    for candidate in result.candidates:
        assert candidate.name in html
        assert escape(candidate.reason) in html
    assert html.count("<figure") == 1


def test_a_dataset_that_the_teacher_was_not_trained_on_is_refused(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    texts, labels = ["my parcel is late", "charged again", "password locked"] * 3, [0, 1, 2] * 3
    other = write_dataset(
        tmp_path / "other", dict.fromkeys(("train", "validation", "test"), (texts, labels)), small_dataset.labels, {}
    )
    with pytest.raises(BadInput, match="give the dataset of the training"):
        step.run(tiny_checkpoint, other.folder, QUICK, "messages", "v1", tmp_path / "draft")


def test_the_same_settings_give_the_same_student(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"prune": False, "quantise": False, "distil_epochs": 1, "quality_share": 0.0})
    texts = small_dataset.texts("validation")
    logits = []
    for name in ("first", "second"):
        result = step.run(tiny_checkpoint, small_dataset.folder, settings, "messages", "v1", tmp_path / name)
        logits.append((result.candidates[1].macro_f1, Classifier(tmp_path / name).logits(texts)))
    assert logits[0][0] == logits[1][0]
    assert np.isfinite(logits[0][1]).all()


@pytest.fixture
def private_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint, as if its training had been private."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "private"))
    info = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps(info | {"privacy": PRIVACY.model_dump()}))
    return folder


def test_variants_that_look_at_the_texts_of_a_private_training_are_refused(
    private_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"as compress.distil, compress.prune would; set compress.distil=false, "):
        step.run(private_checkpoint, small_dataset.folder, QUICK, "messages", "v1", tmp_path / "draft")


def test_the_bundle_of_a_private_training_carries_its_guarantee(
    private_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"distil": False, "prune": False, "target": "size"})
    result = step.run(private_checkpoint, small_dataset.folder, settings, "messages", "v1", tmp_path / "draft")
    assert result.chosen == "teacher-2x32+int8"
    assert Bundle(tmp_path / "draft").info.privacy == PRIVACY


def test_another_bundle_says_nothing_of_privacy(compressed: tuple[CompressResult, Path]) -> None:
    assert "privacy" not in json.loads((compressed[1] / BUNDLE_INFO).read_text())
