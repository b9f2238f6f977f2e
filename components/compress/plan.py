"""Which models a search makes of the teacher: students by depth and width, and what is pruned of each."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from slipway.components.compress.architecture import check_supported
from slipway.components.compress.distil import student_layers
from slipway.components.compress.narrow import kept_dimensions
from slipway.components.compress.prune import kept_count, sizes
from slipway.components.compress.settings import CompressSettings
from slipway.components.step_runtime.settings_lists import NAME, changes_of

Shape = tuple[str, CompressSettings]
"""The name of an item of `students`, or nothing, and the section with what the item changes."""


@dataclass(frozen=True)
class Pruning:
    """A pruned model: its name, and the settings with the shares of heads and neurons that it keeps."""

    name: str
    settings: CompressSettings


@dataclass(frozen=True)
class Student:
    """A student, and what is pruned of it. Without a name there is none, and the teacher itself is pruned."""

    name: str
    layers: list[int]
    width_kept: float
    prunings: list[Pruning]

    @property
    def stages(self) -> list[str]:
        """The names of all models that are trained for it."""
        return [name for name in (self.name, *(pruning.name for pruning in self.prunings)) if name]


def plan(teacher: PreTrainedModel, settings: CompressSettings) -> list[Student]:
    """The students in the order in which their shapes are listed, each with what is pruned of it.

    What comes to the same for this teacher is made once: shapes of the same layers and dimensions share a student, and
    those that leave as many heads and neurons as well are one pruned model, which has the first one's name. (Shapes
    with the same shares are refused with the settings.)

    Students are named for depth and width, as in `student-3x384`. So are pruned models; the name of the shape follows,
    or, when several are pruned of one student, what is kept: `pruned-3x384-small`, `pruned-3x384-8h-768n`.

    Raises:
        BadInput: the settings ask for a student or for pruning, and the teacher's architecture allows neither.
    """
    if not settings.distil and not settings.prune:
        return []
    check_supported(teacher)
    depth, width = int(teacher.config.num_hidden_layers), int(teacher.config.hidden_size)
    groups: dict[tuple[int, int], list[Shape]] = {}
    for name, shape in _shapes(settings):
        size = len(student_layers(depth, shape.layers_kept)), kept_dimensions(width, shape.width_kept)
        groups.setdefault(size, []).append((name, shape))
    students = []
    for (layer_count, dimensions), shapes in groups.items():
        label = f"{layer_count}x{dimensions}"
        layers = student_layers(depth, shapes[0][1].layers_kept)  # the others' as well: their number decides which
        width_kept = min(shape.width_kept for _, shape in shapes)
        smaller = layer_count < depth or width_kept < 1
        prunings = _prunings(label, sizes(teacher), shapes) if settings.prune else []
        students.append(Student(f"student-{label}" if smaller else "", layers, width_kept, prunings))
    return [student for student in students if student.stages]


def _shapes(settings: CompressSettings) -> list[Shape]:
    """All shapes; where nothing is distilled, they have all layers and dimensions."""
    whole = {} if settings.distil else {"layers_kept": 1.0, "width_kept": 1.0}
    return [
        (item.get(NAME, ""), settings.model_copy(update=changes_of(item) | whole)) for item in settings.students or [{}]
    ]


def _prunings(label: str, whole: tuple[int, int], shapes: list[Shape]) -> list[Pruning]:
    """The pruned models of one student.

    Args:
        label: depth and width of the student.
        whole: heads and neurons of each of its layers; a student has those of the teacher.
        shapes: that have this student.
    """
    cuts: dict[tuple[int, int], Shape] = {}
    for name, shape in shapes:
        left = kept_count(whole[0], shape.heads_kept), kept_count(whole[1], shape.neurons_kept)
        cuts.setdefault(left, (name, shape))
    return [
        Pruning(f"pruned-{label}" + (f"-{name}" if name else f"-{heads}h-{neurons}n" if len(cuts) > 1 else ""), shape)
        for (heads, neurons), (name, shape) in cuts.items()
    ]
