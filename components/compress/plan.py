"""Plan the models of a search: students by depth and width, and the pruned models of each."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from slipway.components.compress.architecture import check_supported
from slipway.components.compress.distil import student_layers
from slipway.components.compress.narrow import kept_dimensions
from slipway.components.compress.prune import kept_count, sizes
from slipway.components.compress.settings import CompressSettings
from slipway.components.step_runtime.settings_lists import NAME, changes_of

Shape = tuple[str, CompressSettings]
"""The name of an item of `students` (it may be empty), and the section with the item's changes."""


@dataclass(frozen=True)
class Pruning:
    """A pruned model: its name, and the settings with the shares of heads and neurons that it keeps."""

    name: str
    settings: CompressSettings


@dataclass(frozen=True)
class Student:
    """A student and its pruned models. Without a name there is no student, and the teacher itself is pruned."""

    name: str
    layers: list[int]
    width_kept: float
    prunings: list[Pruning]

    @property
    def stages(self) -> list[str]:
        """The names of all models that are trained for it."""
        return [name for name in (self.name, *(pruning.name for pruning in self.prunings)) if name]


def plan(teacher: PreTrainedModel, settings: CompressSettings) -> list[Student]:
    """The students in the order in which their shapes are listed, each with its pruned models.

    Equal models are made once: shapes with the same layers and dimensions share a student. If they also leave the same
    numbers of heads and neurons, they are one pruned model, with the name of the first shape. (The settings reject
    shapes with the same shares.)

    The name of a student has depth and width, as in `student-3x384`. The name of a pruned model has them, too. The name
    of the shape follows, or, if one student has several pruned models, the numbers of heads and neurons:
    `pruned-3x384-small`, `pruned-3x384-8h-768n`.

    Raises:
        BadInput: the settings ask for a student or for pruning, but the teacher's architecture does not allow them.
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
        layers = student_layers(depth, shapes[0][1].layers_kept)  # the same for all shapes with this number of layers
        width_kept = min(shape.width_kept for _, shape in shapes)
        smaller = layer_count < depth or width_kept < 1
        prunings = _prunings(label, sizes(teacher), shapes) if settings.prune else []
        students.append(Student(f"student-{label}" if smaller else "", layers, width_kept, prunings))
    return [student for student in students if student.stages]


def _shapes(settings: CompressSettings) -> list[Shape]:
    """All shapes of the settings. Without distillation they have all layers and dimensions."""
    full_size = {} if settings.distil else {"layers_kept": 1.0, "width_kept": 1.0}
    return [
        (item.get(NAME, ""), settings.model_copy(update=changes_of(item) | full_size))
        for item in settings.students or [{}]
    ]


def _prunings(label: str, full_size: tuple[int, int], shapes: list[Shape]) -> list[Pruning]:
    """The pruned models of one student.

    Args:
        label: depth and width of the student.
        full_size: numbers of heads and neurons in each of its layers; a student has as many as the teacher.
        shapes: the shapes that share this student.
    """
    cuts: dict[tuple[int, int], Shape] = {}
    for name, shape in shapes:
        sizes = kept_count(full_size[0], shape.heads_kept), kept_count(full_size[1], shape.neurons_kept)
        cuts.setdefault(sizes, (name, shape))
    return [
        Pruning(f"pruned-{label}" + (f"-{name}" if name else f"-{heads}h-{neurons}n" if len(cuts) > 1 else ""), shape)
        for (heads, neurons), (name, shape) in cuts.items()
    ]
