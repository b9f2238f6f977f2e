"""Entry point of the step `evaluate`."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from components import progress
from components.classifier import Classifier
from components.dataset import TextDataset
from components.errors import BadInput
from components.evaluate import champion as champions
from components.evaluate import gate
from components.evaluate.bootstrap import Interval, Resamples, histogram
from components.evaluate.membership import Membership, attack
from components.evaluate.predictions import Evaluated, Exam, evaluated
from components.evaluate.settings import EvaluateSettings
from components.evaluate.typos import with_typos
from components.explanation import explain
from components.registry import Registry, Version

MISTAKES_SHOWN, MISTAKES_EXPLAINED, TYPOS_SHOWN = 10, 4, 5


def run(draft: Path, dataset: Path, settings: EvaluateSettings, tracking_uri: str, model_name: str) -> dict[str, Any]:
    """Evaluate a draft bundle on the test split, beside the champion of the registry, and let the gate decide.

    Args:
        draft: folder of the challenger's draft bundle.
        dataset: folder of the dataset.
        settings: what the gate asks for.
        tracking_uri: MLflow tracking server with the registry.
        model_name: the registered model.

    Returns:
        Plain JSON: `labels`, `texts` (their number), `challenger` and `champion` (scores; the champion null when there
        is none), `intervals` of the challenger's scores, `difference` (challenger minus champion, or null),
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
            bundle = champions.fetch(current, Path(folder) / "bundle")
            champion = evaluated(bundle, exam)
            result["champion"] = champion.to_json() | champions.facts(current, champion.labels, data)
            if champions.same_model(draft, bundle):
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


def _intervals(
    exam: Exam, challenger: Evaluated, champion: Evaluated | None, settings: EvaluateSettings
) -> dict[str, Any]:
    other = champion or challenger
    resamples = Resamples(
        exam.truth,
        challenger.answers.predicted,
        other.answers.predicted,
        len(exam.labels),
        settings.bootstrap_samples,
        settings.confidence,
        settings.seed,
    )
    intervals, differences = {}, {}
    for name in ("macro_f1", "accuracy"):
        value, compared = getattr(challenger.clean, name), getattr(other.clean, name)
        intervals[name] = resamples.interval(value, resamples.scores(name)).to_json()
        differences[name] = resamples.interval(value - compared, resamples.differences(name)).to_json()
    picture = histogram(resamples.differences("macro_f1"))
    return {"intervals": intervals, "difference": differences | {"histogram": picture} if champion else None}


def _gate(
    challenger: Evaluated,
    current: Version | None,
    result: dict[str, Any],
    members: Membership | None,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    if current and result["identical_to_champion"]:
        return gate.verdict([gate.identical(current.version)])
    if current:
        difference = Interval(**result["difference"]["macro_f1"])
        first = gate.not_worse(difference, current.version, settings)
    else:
        first = gate.quality(challenger.clean, settings)
    return gate.verdict(
        [
            first,
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
