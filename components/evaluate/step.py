"""Entry point of the step `evaluate`."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.errors import BadInput
from slipway.components.evaluate import champion as champions
from slipway.components.evaluate import gate
from slipway.components.evaluate.membership import Membership, attack
from slipway.components.evaluate.predictions import Evaluated, Exam, evaluated
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.evaluate.typos import with_typos
from slipway.components.explanation.shapley import explain
from slipway.components.learning.bootstrap import Interval, Resamples, histogram, interval
from slipway.components.learning.scores import accuracy, confusion_matrix, macro_f1, roc_curve
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.step_runtime import progress

SCORES = {"macro_f1": macro_f1, "accuracy": accuracy}
MISTAKES_SHOWN, MISTAKES_EXPLAINED, TYPOS_SHOWN = 10, 4, 5


def run(
    draft: Path, dataset: Path, settings: EvaluateSettings, tracking_uri: str, model_name: str, public_key: Path
) -> dict[str, Any]:
    """Evaluate a draft bundle on the test split, beside the champion of the registry, and let the gate decide.

    Args:
        draft: folder of the challenger's draft bundle.
        dataset: folder of the dataset.
        settings: what the gate asks for.
        tracking_uri: MLflow tracking server with the registry.
        model_name: the registered model.
        public_key: PEM of the signer of the champion's bundle.

    Returns:
        Plain JSON: `labels`, `texts` (their number), `challenger` and `champion` (scores; the champion null when there
        is none), `roc` (the challenger's ROC curve for the second of two classes, else null), `intervals` of the
        challenger's scores, `difference` (challenger minus champion on the
        texts of classes that both know, or null),
        `membership` (how well training texts can be recognised, or null), `gate` (`passed`, `reasons`, `checks`),
        `identical_to_champion` (its version or null), `mistakes`, `typo_examples`, `settings` and `seconds`.

    Raises:
        BadInput: draft, dataset, registry or the champion's bundle cannot be used.
    """
    start = time.monotonic()
    data = TextDataset(dataset)
    exam = _exam(data, settings)
    current = Registry(tracking_uri, model_name).champion()
    served = f"champion: version {current.version}" if current else "no champion yet"
    progress.report("evaluate", f"{len(exam.texts)} test texts; {served}")
    challenger = evaluated(draft, exam)
    result: dict[str, Any] = {
        "labels": exam.labels,
        "texts": len(exam.texts),
        "challenger": challenger.to_json(),
        "roc": _roc(exam, challenger),
        "champion": None,
        "identical_to_champion": None,
        "membership": None,
        "mistakes": _explained(_mistakes(exam, challenger), draft),
        "typo_examples": [pair for pair in zip(exam.texts, exam.noisy, strict=True) if pair[0] != pair[1]][
            :TYPOS_SHOWN
        ],
        "settings": settings.model_dump(),
    }
    champion = None
    if current:
        with tempfile.TemporaryDirectory() as folder:
            bundle = champions.fetch(current, model_name, public_key, Path(folder) / "bundle")
            champion = evaluated(bundle, exam)
            result["champion"] = champion.to_json() | champions.facts(current, champion.labels, data)
            if champions.same_model(Bundle(draft), bundle):
                result["identical_to_champion"] = current.version
    result |= _intervals(exam, challenger, champion, settings)
    members = None
    if settings.membership_texts and data.texts("train"):
        members = attack(Classifier(draft), data, settings.membership_texts, settings.seed)
        result["membership"] = members.to_json()
    result["gate"] = _gate(challenger, current, result, members, settings)
    for reason in result["gate"]["reasons"]:
        progress.report("evaluate", reason)
    progress.report("evaluate", "the gate lets it pass" if result["gate"]["passed"] else "the gate refuses it")
    return result | {"seconds": time.monotonic() - start}


def _exam(data: TextDataset, settings: EvaluateSettings) -> Exam:
    texts = data.texts("test")
    if not texts:
        raise BadInput(f"the test split of {data.folder} is empty; check the split shares of prepare_data")
    noisy = with_typos(texts, settings.typo_rate, settings.seed)
    return Exam(texts, noisy, data.label_ids("test"), data.labels)


def _roc(exam: Exam, model: Evaluated) -> dict[str, Any] | None:
    """The ROC curve for the second of two classes; an average over more says little."""
    if len(exam.labels) != 2 or sorted(model.labels) != sorted(exam.labels):
        return None
    predicted, confidence = model.answers.predicted, model.answers.confidence
    curve = roc_curve(exam.truth == 1, np.where(predicted == 1, confidence, 1 - confidence), exam.labels[1])
    return curve.to_json() if curve else None


def _intervals(
    exam: Exam, challenger: Evaluated, champion: Evaluated | None, settings: EvaluateSettings
) -> dict[str, Any]:
    """Of the challenger's scores, and of its differences to the champion on texts of classes that both know.

    On the others the champion can only be wrong: to be better there says nothing against a loss where it counts.
    """
    every = np.ones(len(exam.truth), dtype=bool)
    resamples = _resamples(exam, every, challenger, challenger, settings)
    intervals = {
        name: interval(getattr(challenger.clean, name), resamples.scores(name)[0], settings.confidence).to_json()
        for name in SCORES
    }
    if champion is None:
        return {"intervals": intervals, "difference": None}
    shared = np.isin(exam.truth, [index for index, label in enumerate(exam.labels) if label in champion.labels])
    if not shared.any():
        return {"intervals": intervals, "difference": None}
    resamples = _resamples(exam, shared, challenger, champion, settings)
    difference: dict[str, Any] = {"texts": int(shared.sum())}
    for name, of in SCORES.items():
        values = [
            float(of(confusion_matrix(exam.truth[shared], model.answers.predicted[shared], len(exam.labels))))
            for model in (challenger, champion)
        ]
        drawn = resamples.differences(name)
        difference[name] = interval(values[0] - values[1], drawn, settings.confidence).to_json()
    difference["histogram"] = histogram(resamples.differences("macro_f1"))
    return {"intervals": intervals, "difference": difference}


def _resamples(
    exam: Exam, rows: npt.NDArray[np.bool_], first: Evaluated, second: Evaluated, settings: EvaluateSettings
) -> Resamples:
    one, other = (model.answers.predicted[rows] for model in (first, second))
    return Resamples(exam.truth[rows], one, other, len(exam.labels), settings.bootstrap_samples, settings.seed)


def _gate(
    challenger: Evaluated,
    current: Version | None,
    result: dict[str, Any],
    members: Membership | None,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    if current and result["identical_to_champion"]:
        return gate.verdict([gate.identical(current.version)])
    compared = None
    if current and result["difference"]:
        found = result["difference"]
        compared = gate.not_worse(Interval(**found["macro_f1"]), current.version, settings)
    champion, floor = result["champion"], None
    if not champion:
        floor = gate.quality(challenger.clean, "there is no champion", settings)
    elif champion["labels_it_lacks"] or champion["labels_now_gone"]:
        floor = gate.quality(challenger.clean, f"champion {champion['version']} knows other labels", settings)
    return gate.verdict(
        [
            compared,
            floor,
            gate.class_recall(challenger.clean, settings),
            gate.calibration(challenger.clean, settings),
            gate.typos(challenger.typo_drop, settings),
            gate.membership(members, settings),
        ]
    )


def _explained(mistakes: list[dict[str, Any]], draft: Path) -> list[dict[str, Any]]:
    """The first of the mistakes with `explanation`: which words spoke for the wrong answer."""
    classifier = Classifier(draft)
    for mistake in mistakes[:MISTAKES_EXPLAINED]:
        if mistake["predicted"] in classifier.labels:
            found = explain(mistake["text"], classifier.tokenizer, classifier.run)
            label = mistake["predicted"]
            mistake["explanation"] = found.to_json(classifier.labels.index(label), label)
    return mistakes


def _mistakes(exam: Exam, model: Evaluated) -> list[dict[str, Any]]:
    """The wrong answers of which the model was surest."""
    answers = model.answers
    wrong = np.flatnonzero(answers.predicted != exam.truth)
    surest = wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    names = [*exam.labels, "(unknown label)"]
    return [
        {
            "text": exam.texts[row],
            "label": exam.labels[exam.truth[row]],
            "predicted": names[answers.predicted[row]],
            "confidence": float(answers.confidence[row]),
        }
        for row in surest
    ]
