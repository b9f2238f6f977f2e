"""Entry point of the step `evaluate`: evaluate challenger and champion on the test split, then apply the gate."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.errors import BadInput
from slipway.components.evaluate import best as best_version
from slipway.components.evaluate import champion as champions
from slipway.components.evaluate import gate, slices
from slipway.components.evaluate.membership import attack
from slipway.components.evaluate.predictions import Evaluated, Exam, evaluated
from slipway.components.evaluate.result import (
    BestSoFar,
    ChampionScores,
    Difference,
    EvaluateResult,
    Intervals,
    Membership,
    Mistake,
    Slice,
    Verdict,
)
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.evaluate.typos import with_typos
from slipway.components.explanation.shapley import explain
from slipway.components.learning.bootstrap import Interval, Resamples, histogram, interval
from slipway.components.learning.scores import RocCurve, accuracy, confusion_matrix, macro_f1, roc_curve
from slipway.components.platforms.model_registry import Registry
from slipway.components.step_runtime import progress

SCORES = {"macro_f1": macro_f1, "accuracy": accuracy}
MISTAKES_SHOWN, MISTAKES_EXPLAINED, TYPOS_SHOWN = 10, 4, 5


def run(
    draft: Path, dataset: Path, settings: EvaluateSettings, tracking_uri: str, model_name: str, public_key: Path
) -> EvaluateResult:
    """Evaluate a draft bundle and the champion of the registry on the test split, and let the gate decide.

    Args:
        draft: folder of the challenger's draft bundle.
        dataset: folder of the dataset.
        settings: limits of the gate.
        tracking_uri: MLflow tracking server with the registry.
        model_name: the registered model.
        public_key: PEM of the signer of the champion's bundle.

    Raises:
        BadInput: draft, dataset, registry or the champion's bundle cannot be used.
    """
    start = time.monotonic()
    data = TextDataset(dataset)
    exam = _exam(data, settings)
    registry = Registry(tracking_uri, model_name)
    current = registry.champion()
    served = f"champion: version {current.version}" if current else "no champion yet"
    progress.report("evaluate", f"{len(exam.texts)} test texts; {served}")
    challenger = evaluated(draft, exam)
    champion = scores = identical = None
    if current:
        with tempfile.TemporaryDirectory() as folder:
            bundle = champions.fetch(current, model_name, public_key, Path(folder) / "bundle")
            champion = evaluated(bundle, exam)
            scores = champions.scores_of(current, champion.scores(), champion.labels, data)
            identical = current.version if champions.same_model(Bundle(draft), bundle) else None
    so_far = None
    if best := best_version.best_of([*registry.promoted(), *([current] if current else [])], data):
        is_champion = current is not None and best.version == current.version
        download = partial(champions.registered, model_name=model_name, public_key=public_key)
        so_far = best_version.compared(
            best, challenger.clean.macro_f1, champion if is_champion else None, exam, data, download
        )
    intervals, difference = _intervals(exam, challenger, champion, settings)
    parts = slices.scored(exam, challenger.answers, data.columns("test"), settings)
    members = None
    if settings.membership_texts and data.texts("train"):
        members = attack(Classifier(draft), data, settings.membership_texts, settings.seed)
    if identical:
        verdict = gate.verdict([gate.identical(identical)])
    else:
        verdict = _gate(challenger, (scores, difference, so_far), parts, members, settings)
    for reason in verdict.reasons:
        progress.report("evaluate", reason)
    progress.report("evaluate", "the gate lets it pass" if verdict.passed else "the gate refuses it")
    return EvaluateResult(
        labels=exam.labels,
        texts=len(exam.texts),
        challenger=challenger.scores(),
        roc=_roc(exam, challenger),
        champion=scores,
        best=so_far,
        identical_to_champion=identical,
        intervals=intervals,
        difference=difference,
        slices=parts,
        membership=members,
        gate=verdict,
        mistakes=_mistakes(exam, challenger, draft),
        typo_examples=[pair for pair in zip(exam.texts, exam.noisy, strict=True) if pair[0] != pair[1]][:TYPOS_SHOWN],
        settings=settings.model_dump(),
        seconds=time.monotonic() - start,
    )


def _exam(data: TextDataset, settings: EvaluateSettings) -> Exam:
    texts = data.texts("test")
    if not texts:
        raise BadInput(f"the test split of {data.folder} is empty; check the split shares of prepare_data")
    noisy = with_typos(texts, settings.typo_rate, settings.seed)
    return Exam(texts, noisy, data.label_ids("test"), data.labels)


def _roc(exam: Exam, model: Evaluated) -> RocCurve | None:
    """The ROC curve for the second of two classes; None for more classes, whose averaged curve would say little."""
    if len(exam.labels) != 2 or sorted(model.labels) != sorted(exam.labels):
        return None
    predicted, confidence = model.answers.predicted, model.answers.confidence
    return roc_curve(exam.truth == 1, np.where(predicted == 1, confidence, 1 - confidence), exam.labels[1])


def _intervals(
    exam: Exam, challenger: Evaluated, champion: Evaluated | None, settings: EvaluateSettings
) -> tuple[Intervals, Difference | None]:
    """Confidence intervals of the challenger's scores, and of their differences to the champion.

    The differences are measured on texts of classes that both know. On other texts the champion is always wrong, and
    a gain there could hide a loss on the classes that both know.
    """
    all_texts = np.ones(len(exam.truth), dtype=bool)
    resamples = _resamples(exam, all_texts, challenger, challenger, settings)
    intervals = Intervals(
        **{
            name: interval(getattr(challenger.clean, name), resamples.scores(name)[0], settings.confidence)
            for name in SCORES
        }
    )
    if champion is None:
        return intervals, None
    shared = np.isin(exam.truth, [index for index, label in enumerate(exam.labels) if label in champion.labels])
    if not shared.any():
        return intervals, None
    resamples = _resamples(exam, shared, challenger, champion, settings)
    differences: dict[str, Interval] = {}
    for name, metric in SCORES.items():
        values = [
            float(metric(confusion_matrix(exam.truth[shared], model.answers.predicted[shared], len(exam.labels))))
            for model in (challenger, champion)
        ]
        differences[name] = interval(values[0] - values[1], resamples.differences(name), settings.confidence)
    resampled = histogram(resamples.differences("macro_f1"))
    return intervals, Difference(texts=int(shared.sum()), histogram=resampled, **differences)


def _resamples(
    exam: Exam, rows: npt.NDArray[np.bool_], first: Evaluated, second: Evaluated, settings: EvaluateSettings
) -> Resamples:
    predicted, predicted_by_second = (model.answers.predicted[rows] for model in (first, second))
    return Resamples(
        exam.truth[rows], predicted, predicted_by_second, len(exam.labels), settings.bootstrap_samples, settings.seed
    )


def _gate(
    challenger: Evaluated,
    others: tuple[ChampionScores | None, Difference | None, BestSoFar | None],
    parts: list[Slice],
    members: Membership | None,
    settings: EvaluateSettings,
) -> Verdict:
    champion, difference, best = others
    not_worse = near_best = None
    if champion and difference:
        not_worse = gate.not_worse(difference.macro_f1, difference.texts, champion.version, settings)
    if best and not (champion and best.version == champion.version):
        near_best = gate.near_best(best, settings)
    return gate.verdict(
        [
            not_worse,
            near_best,
            gate.quality(challenger.clean, settings),
            gate.class_recall(challenger.clean, settings),
            gate.slices(parts, settings),
            gate.calibration(challenger.clean, settings),
            gate.typos(challenger.typo_drop, settings),
            gate.membership(members, settings),
        ]
    )


def _mistakes(exam: Exam, model: Evaluated, draft: Path) -> list[Mistake]:
    """The wrong predictions with the highest confidence. The first ones have explanations."""
    answers = model.answers
    wrong = np.flatnonzero(answers.predicted != exam.truth)
    most_confident = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    names = [*exam.labels, "(unknown label)"]
    mistakes = [
        Mistake(
            text=exam.texts[row],
            label=exam.labels[exam.truth[row]],
            predicted=names[answers.predicted[row]],
            confidence=float(answers.confidence[row]),
        )
        for row in most_confident
    ]
    classifier = Classifier(draft)
    return [
        _explained(mistake, classifier) if index < MISTAKES_EXPLAINED else mistake
        for index, mistake in enumerate(mistakes)
    ]


def _explained(mistake: Mistake, classifier: Classifier) -> Mistake:
    if mistake.predicted not in classifier.labels:
        return mistake
    attributions = explain(mistake.text, classifier.tokenizer, classifier.run)
    explanation = attributions.of_class(classifier.labels.index(mistake.predicted), mistake.predicted)
    return mistake.model_copy(update={"explanation": explanation})
