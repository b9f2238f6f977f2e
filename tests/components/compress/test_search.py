"""The search as a whole: it resumes, keeps to its budget, and never delivers what is below the floor."""

from pathlib import Path

import pytest
import torch

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.compress import models, report, step
from slipway.components.compress.distil import Report
from slipway.components.compress.result import Budget, CompressResult
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings

QUICK = CompressSettings(
    quality_share=0.8,
    distil_epochs=2,
    recovery_epochs=2,
    prune_rounds=2,
    learning_rate=2e-3,
    latency_rounds=3,
    train_threads=1,
    serving_threads=1,
    quantise=False,
)


class Killed(BaseException):
    """Stands for the end of the process at any place."""


def killed_at(monkeypatch: pytest.MonkeyPatch, stage: str, update: int) -> list[str]:
    """Let the search end at an update of a stage; returns the list of updates that were made."""
    made: list[str] = []
    original = models._reporter

    def reporter(name: str) -> Report:
        tell = original(name)

        def told(number: int, updates: int, loss: float) -> None:
            made.append(name)
            tell(number, updates, loss)
            if name.startswith(stage) and number == update:
                raise Killed

        return told

    monkeypatch.setattr(models, "_reporter", reporter)
    return made


def search(checkpoint: Path, data: TextDataset, settings: CompressSettings, output: Path, work: Path) -> CompressResult:
    return step.run(checkpoint, data.folder, settings, "messages", "v1", output, work)


@pytest.mark.parametrize(("stage", "update"), [("student", 12), ("pruned-1x32-cut1", 3), ("pruned-1x32", 3)])
def test_a_killed_search_goes_on_where_it_was_and_ends_with_the_same_models(
    tiny_checkpoint: Path,
    small_dataset: TextDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    update: int,
) -> None:
    settings = QUICK.model_copy(update={"target": "size", "quality_share": 0.0})
    whole = search(tiny_checkpoint, small_dataset, settings, tmp_path / "whole", tmp_path / "work-of-whole")
    with monkeypatch.context() as patch:
        killed_at(patch, stage, update)
        with pytest.raises(Killed):
            search(tiny_checkpoint, small_dataset, settings, tmp_path / "resumed", tmp_path / "work")
    made = killed_at(monkeypatch, "nothing", 0)
    resumed = search(tiny_checkpoint, small_dataset, settings, tmp_path / "resumed", tmp_path / "work")
    assert resumed.budget.resumed
    assert len(made) < 16 + 8 + 8  # the updates of the whole search
    assert resumed.chosen == whole.chosen
    texts = small_dataset.texts("validation")
    logits = [Classifier(tmp_path / name).logits(texts) for name in ("whole", "resumed")]
    torch.testing.assert_close(torch.from_numpy(logits[0]), torch.from_numpy(logits[1]))
    assert not list((tmp_path / "work").iterdir())


def test_another_search_does_not_continue_this_one(tiny_checkpoint: Path, small_dataset: TextDataset) -> None:
    digest = step.search_digest(tiny_checkpoint, small_dataset.digest, QUICK)
    other = QUICK.model_copy(update={"distil_epochs": 9})
    choice_only = QUICK.model_copy(update={"target": "size", "quality_share": 0.5, "budget_s": 5.0})
    assert step.search_digest(tiny_checkpoint, small_dataset.digest, other) != digest
    assert step.search_digest(tiny_checkpoint, "sha256:0", QUICK) != digest
    assert step.search_digest(tiny_checkpoint, small_dataset.digest, choice_only) == digest


def test_a_spent_budget_gives_the_best_so_far_and_says_so(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"budget_s": 1e-6})
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    assert result.budget.exhausted
    assert result.budget.unfinished == ["student-1x32", "pruned-1x32"]
    assert [row.name for row in result.candidates] == ["teacher-2x32", "student-1x32"]
    assert result.chosen == Bundle(tmp_path / "draft").info.variant
    assert "was spent before these were ready: student-1x32, pruned-1x32" in report.section(result)


def test_a_budget_that_suffices_is_not_mentioned(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"prune": False, "distil_epochs": 1})
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    assert result.budget == Budget(seconds=1800.0, exhausted=False, unfinished=[], resumed=[])
    assert "was spent" not in report.section(result)


def test_a_student_below_the_floor_is_not_delivered_although_it_is_the_only_one(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    untaught = {"learning_rate": 1e-9, "prune": False, "layers_kept": 1.0, "width_kept": 0.25, "quality_share": 0.97}
    settings = QUICK.model_copy(update=untaught | {"give_up": False})
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    assert [row.name for row in result.candidates] == ["teacher-2x32", "student-2x8"]
    assert result.chosen == Bundle(tmp_path / "draft").info.variant == "teacher-2x32"
    assert "no smaller variant surely (95%) keeps 97.0%" in result.candidates[0].reason


def test_a_student_that_cannot_pass_is_given_up_early_and_has_no_pruned_models(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = QUICK.model_copy(update={"learning_rate": 1e-9, "width_kept": 0.25, "distil_epochs": 4})
    made = killed_at(monkeypatch, "nothing", 0)
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    assert [row.name for row in result.candidates] == ["teacher-2x32"]
    assert list(result.given_up) == ["student-1x8"]
    assert len(made) == 8, "an epoch of four"
    assert "student-1x8 was given up: after 25% of its lessons it was sure to keep" in report.section(result)


def test_nothing_is_taught_when_the_validation_split_is_too_small_to_show_it(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = killed_at(monkeypatch, "nothing", 0)
    settings = QUICK.model_copy(update={"quality_share": 0.99})
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    assert not made
    assert "with 36 validation texts even a model as good as the teacher" in result.given_up["student-1x32"]


def test_augmentation_relations_width_and_static_int8_make_a_student_that_knows_the_topics(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    wide = {
        "augmentation": 1.0,
        "relation_weight": 1.0,
        "width_kept": 0.75,
        "distil_epochs": 4,
        "quantise": True,
        "static": True,
        "float_matrices": 1,
        "vocabulary_kept": 0.5,
    }
    settings = QUICK.model_copy(update=wide)
    result = search(tiny_checkpoint, small_dataset, settings, tmp_path / "draft", tmp_path / "work")
    found = {row.name: row for row in result.candidates}
    assert {"student-1x24", "student-1x24+int8", "student-1x24+static-int8", "pruned-1x24+int8"} <= found.keys()
    assert found["student-1x24"].macro_f1 > 0.7
    for form in ("int8", "static-int8"):
        assert found[f"student-1x24+{form}"].macro_f1 > found["student-1x24"].macro_f1 - 0.1


def test_a_damaged_stage_is_made_again(tmp_path: Path) -> None:
    stages = SearchState(tmp_path)
    model = torch.nn.Linear(2, 2)
    stages.finish("student", model, 1.5)
    finished = SearchState(tmp_path).finished("student")
    assert finished is not None
    assert finished["seconds"] == 1.5
    (tmp_path / "student.pt").write_bytes((tmp_path / "student.pt").read_bytes()[:100])
    assert SearchState(tmp_path).finished("student") is None
