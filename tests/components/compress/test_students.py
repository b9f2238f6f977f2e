"""Several students in one search: what their settings may say, what is made of them, and under which names."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedModel

from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress import models, report, step
from slipway.components.compress.distil import Report, distil
from slipway.components.compress.plan import Student, plan
from slipway.components.compress.result import CompressResult
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import StoredOutputs
from slipway.components.learning.batches import EncodedTexts

QUICK = {
    "quality_share": 0.0,
    "distil_epochs": 1,
    "recovery_epochs": 1,
    "latency_rounds": 3,
    "train_threads": 1,
    "serving_threads": 1,
    "quantise": False,
}
SHAPES: list[dict[str, Any]] = [
    {},
    {"name": "fewer_heads", "heads_kept": 0.25},
    {"layers_kept": 1.0, "width_kept": 0.5},
    {"layers_kept": 1.0},
]
"""For the tiny checkpoint of 2 layers, 32 dimensions, 4 heads and 64 neurons."""
MADE = [
    "student-1x32",
    "pruned-1x32-3h-32n",
    "pruned-1x32-fewer_heads",
    "student-2x16",
    "pruned-2x16",
    "pruned-2x32",
]


@pytest.fixture(scope="module")
def teacher(tiny_checkpoint: Path) -> PreTrainedModel:
    return load_checkpoint(tiny_checkpoint)[0]


def planned(teacher: PreTrainedModel, *students: dict[str, Any], **others: Any) -> list[Student]:
    return plan(teacher, CompressSettings(students=list(students), **others))


def stages(students: list[Student]) -> list[str]:
    return [name for student in students for name in student.stages]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"layer_kept": 0.5}], "student 1: layer_kept is unknown; did you mean layers_kept"),
        ([{}, {"epochs": 3}], "student 2: epochs is unknown; known: name, layers_kept, width_kept, heads_kept"),
        ([{"heads_kept": 1.5}], r"student 1 cannot be used \(heads_kept=1.5: .*less than or equal to 1"),
        ([{"neurons_kept": "half"}], r"student 1 cannot be used \(neurons_kept='half': .*valid number"),
        ([{"name": "../a"}], r"student 1: the name '../a' is not of letters, digits and _"),
        ([{"name": "a"}, {"name": "a", "heads_kept": 0.5}], "students need different names, but there are several a"),
        ([{}, {"heads_kept": 0.3}, {"name": "a", "neurons_kept": 0.5}], "students 1 and 3 are the same; remove one"),
    ],
    ids=["near key", "unknown key", "out of bounds", "no number", "name", "same name", "same shape"],
)
def test_students_that_make_no_sense_are_refused_with_the_settings(items: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompressSettings(students=items)


def test_values_have_the_types_of_the_fields_however_they_were_written() -> None:
    settings = CompressSettings(students=[{"name": 3, "layers_kept": 1, "width_kept": "0.5"}])
    assert settings.students == [{"name": "3", "layers_kept": 1.0, "width_kept": 0.5}]
    assert CompressSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_one_shape_has_the_names_of_a_section_without_students(teacher: PreTrainedModel) -> None:
    assert stages(planned(teacher)) == stages(planned(teacher, {})) == ["student-1x32", "pruned-1x32"]
    assert stages(planned(teacher, distil=False)) == ["pruned-2x32"]
    assert stages(planned(teacher, prune=False)) == ["student-1x32"]
    assert planned(teacher, layers_kept=1.0, prune=False) == planned(teacher, distil=False, prune=False) == []


def test_shapes_of_the_same_layers_and_dimensions_share_a_student(teacher: PreTrainedModel) -> None:
    students = planned(teacher, *SHAPES)
    assert stages(students) == MADE
    assert [student.layers for student in students] == [[1], [0, 1], [0, 1]]
    fewer = students[0].prunings[1].settings
    assert (fewer.heads_kept, fewer.neurons_kept) == (0.25, 0.5)


def test_shapes_that_come_to_the_same_for_this_teacher_are_made_once(teacher: PreTrainedModel) -> None:
    close: list[dict[str, Any]] = [{"name": "first"}, {"layers_kept": 0.45, "heads_kept": 0.7, "neurons_kept": 0.501}]
    assert stages(planned(teacher, *close)) == ["student-1x32", "pruned-1x32-first"]
    assert stages(planned(teacher, {}, {"layers_kept": 1.0}, distil=False)) == ["pruned-2x32"]
    assert stages(planned(teacher, {}, {"heads_kept": 0.25}, prune=False)) == ["student-1x32"]


def test_every_student_is_told_of_its_own_layers_and_dimensions(
    teacher: PreTrainedModel, small_dataset: TextDataset, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    tokenizer = load_checkpoint(tiny_checkpoint)[1]
    texts = EncodedTexts(small_dataset.texts("train"), small_dataset.label_ids("train"), tokenizer, 32)
    shared = StoredOutputs(teacher, [0, 1], texts, tmp_path)
    whole = shared.batch_of(np.arange(8)).states
    some = torch.tensor([2, 5])
    last, narrow = shared.for_student([1], None), shared.for_student([0, 1], some)
    torch.testing.assert_close(last.batch_of(np.arange(8)).states, whole[:, [1]])
    torch.testing.assert_close(narrow.batch_of(np.arange(8)).states, whole[..., some])
    torch.testing.assert_close(shared.batch_of(np.arange(8)).states, whole)


def test_students_are_part_of_the_search_and_none_are_not(tiny_checkpoint: Path, small_dataset: TextDataset) -> None:
    def digest(**changes: Any) -> str:
        return step.search_digest(tiny_checkpoint, small_dataset.digest, CompressSettings(**changes))

    files = [hashlib.sha256(file.read_bytes()).hexdigest() for file in tiny_checkpoint.glob("*.safetensors")]
    settings = CompressSettings().model_dump(exclude=step.NO_EFFECT_ON_MODELS | {"students"})
    before = {"format": 1, "teacher": files, "dataset": small_dataset.digest, "settings": settings}
    assert digest(students=[]) == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    lists: list[list[dict[str, Any]]] = [[], [{}], [{"heads_kept": 0.5}]]
    assert len({digest(students=items) for items in lists}) == 3


@pytest.fixture(scope="module")
def whole(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], CompressResult]:
    """The names of the trainings of a search of several students, and its result."""
    with pytest.MonkeyPatch.context() as patch:
        made = trainings(patch)
        work = tmp_path_factory.mktemp("whole")
        return made, search(tiny_checkpoint, small_dataset, work)


def trainings(patch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the name of each stage that is trained."""
    made: list[str] = []
    original = distil

    def noted(*given: Any) -> None:
        made.append(given[-2])
        original(*given)

    patch.setattr(models, "distil", noted)
    return made


def search(checkpoint: Path, data: TextDataset, folder: Path, **changes: Any) -> CompressResult:
    settings = CompressSettings(**(QUICK | {"students": SHAPES} | changes))
    return step.run(checkpoint, data.folder, settings, "messages", "v1", folder / "draft", folder / "work")


def test_a_search_makes_and_shows_all_shapes_and_trains_a_shared_student_once(
    whole: tuple[list[str], CompressResult],
) -> None:
    made, result = whole
    assert made == MADE
    rows = {row.name: row for row in result.candidates}
    assert list(rows) == ["teacher-2x32", *MADE]
    assert len({row.parameters for row in rows.values()}) == len(rows)
    html = report.section(result)
    assert all(name in html for name in rows)


def test_a_killed_search_of_several_students_goes_on(
    whole: tuple[list[str], CompressResult],
    tiny_checkpoint: Path,
    small_dataset: TextDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    def killed(name: str) -> Report:
        if name == "pruned-1x32-fewer_heads":
            raise Killed
        return lambda *_: None

    with monkeypatch.context() as patch:
        patch.setattr(models, "_reporter", killed)
        with pytest.raises(Killed):
            search(tiny_checkpoint, small_dataset, tmp_path)
    made = trainings(monkeypatch)
    result = search(tiny_checkpoint, small_dataset, tmp_path)
    assert result.budget.resumed == MADE[:2]
    assert made == MADE[2:]
    scores = [[row.macro_f1 for row in one.candidates] for one in (whole[1], result)]
    assert scores[0] == scores[1]


def test_what_an_earlier_run_has_finished_needs_no_time(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(step, "_measure", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            search(tiny_checkpoint, small_dataset, tmp_path)
    made = trainings(monkeypatch)
    result = search(tiny_checkpoint, small_dataset, tmp_path, budget_s=1e-6)
    assert made == []
    assert [row.name for row in result.candidates] == ["teacher-2x32", *MADE]
    assert not result.budget.exhausted


def test_students_for_which_no_time_is_left_are_not_begun(
    tiny_checkpoint: Path, small_dataset: TextDataset, tmp_path: Path
) -> None:
    result = search(tiny_checkpoint, small_dataset, tmp_path, budget_s=1e-6)
    assert [row.name for row in result.candidates] == ["teacher-2x32", "student-1x32"]
    assert result.budget.unfinished == MADE
    assert f"was spent before these were ready: {', '.join(MADE)}" in report.section(result)
