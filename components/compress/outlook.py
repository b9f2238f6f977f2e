"""Stop teaching a model as soon as the validation split shows that it cannot keep enough of the teacher's quality.

A variant passes when the lower bound of what it keeps of the teacher's macro-F1 reaches `quality_share`. The bound
depends on the number of validation texts as well as on the model. So the split is looked at before a model is taught,
and after each part of its lessons.
"""

from collections.abc import Callable
from math import sqrt

from scipy.stats import norm
from transformers import PreTrainedModel

from slipway.components.compress.quality import kept
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import STEP
from slipway.components.learning.batches import EncodedTexts, Indices
from slipway.components.learning.evaluation import predict_logits
from slipway.components.learning.scores import confusion_matrix, macro_f1
from slipway.components.step_runtime import progress

LEAST_DISAGREEMENT = 0.02
"""Share of the texts on which even a good student and its teacher differ in being right. It is a judgement: less
teaches models in vain, more gives up models that would have passed.
"""
Look = Callable[[PreTrainedModel, float], bool]
"""Is called with a model and the share of its lessons that it has had; returns whether to stop."""


def most_that_can_be_shown(texts: int, teacher_f1: float, confidence: float) -> float:
    """The highest lower bound that a model can reach which is exactly as good as the teacher.

    On the share `LEAST_DISAGREEMENT` of the texts one of the two is right and the other wrong, half of them each. The
    difference of their scores then has the standard error sqrt(share / texts).

    Args:
        texts: of the validation split.
        teacher_f1: macro-F1 of the teacher on them.
        confidence: of the bound, one-sided.
    """
    error = sqrt(LEAST_DISAGREEMENT / max(texts, 1))
    return 1 - float(norm.ppf(confidence)) * error / max(teacher_f1, error)


class Outlook:
    """What the validation split shows of models that are being taught.

    Args:
        teacher: in evaluation mode.
        texts: the validation texts.
        settings: the floor, its confidence, and whether to look at all.
        search: is told which models were given up, and why.
    """

    def __init__(
        self, teacher: PreTrainedModel, texts: EncodedTexts, settings: CompressSettings, search: SearchState
    ) -> None:
        self.texts, self.settings, self.search = texts, settings, search
        self.classes = int(teacher.config.num_labels or 0)
        self._teacher = predicted(teacher, texts)
        teacher_f1 = float(macro_f1(confusion_matrix(texts.label_ids, self._teacher, self.classes)))
        self._most = most_that_can_be_shown(len(texts), teacher_f1, settings.quality_confidence)

    def excludes(self, name: str) -> bool:
        """Whether the split has too few texts to show of any smaller model that it keeps enough."""
        if self._most >= self.settings.quality_share:
            return False
        self._give_up(
            name,
            f"with {len(self.texts)} validation texts even a model as good as the teacher would be sure to keep "
            f"{self._most:.1%} at most",
        )
        return True

    def look(self, name: str) -> Look:
        """A function that decides during the lessons of a model whether it can still pass.

        It extrapolates the lower bound; see `extrapolated`. The lessons gain less and less, so a model that would not
        reach the floor at its present pace does not reach it.
        """
        looks: list[tuple[float, float]] = []

        def stop(model: PreTrainedModel, done: float) -> bool:
            bound = self._bound(model)
            looks.append((done, bound))
            expected = extrapolated(looks)
            if expected >= self.settings.quality_share:
                return False
            self._give_up(
                name,
                f"after {done:.0%} of its lessons it was sure to keep {bound:.1%}"
                + ("" if done >= 1 else f", and could reach {max(expected, 0):.1%} at most"),
            )
            return True

        return stop

    def _bound(self, model: PreTrainedModel) -> float:
        answers, settings = predicted(model, self.texts), self.settings
        found = kept(
            self.texts.label_ids, answers, self._teacher, self.classes, settings.quality_confidence, settings.seed
        )
        return found.at_least

    def _give_up(self, name: str, reason: str) -> None:
        self.search.given_up[name] = f"{reason}; the floor is {self.settings.quality_share:.1%}"
        progress.report(STEP, f"{name} is given up: {self.search.given_up[name]}")


def extrapolated(looks: list[tuple[float, float]]) -> float:
    """The bound at the end of the lessons if it goes on rising as steeply as over the last two parts of them.

    It is 1 as long as there are fewer than three looks.

    The rise over one part alone would be noise: on 260 texts, one text more moves the bound by half a point.

    Args:
        looks: share of the lessons that were done, and the lower bound then.
    """
    done, bound = looks[-1]
    if done >= 1:
        return bound
    if len(looks) < 3:
        return 1.0
    before, bound_before = looks[-3]
    slope = max(0.0, bound - bound_before) / max(done - before, 1e-9)
    return bound + slope * (1 - done)


def predicted(model: PreTrainedModel, texts: EncodedTexts) -> Indices:
    """The classes that a model predicts, shape (texts,)."""
    answers: Indices = predict_logits(model, texts).argmax(dim=1).numpy()
    return answers
