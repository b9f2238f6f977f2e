"""What the steps of a run return, with content that is hard to show: many classes, long names, long reasons."""

import csv
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from slipway.components.compress.settings import CompressSettings
from slipway.components.evaluate import gate
from slipway.components.evaluate.result import Membership
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Interval
from slipway.components.learning.scores import score
from slipway.components.learning.settings import TrainSettings
from slipway.components.prepare_data import step as prepare_data_step
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.select_model.choice import one_standard_error, summarise
from slipway.components.select_model.result import FoldScore
from slipway.components.step_runtime.step_result import StepResult

AWKWARD = [
    "Rechtsschutzversicherungsgesellschaftenbeitragserstattung",
    "https://example.org/taxonomy/2026/customer-service/refunds-and-returns?level=3&language=en",
    "カードの支払いが拒否されました",
    "card_payment_fee_charged",
]
"""Class names without a space."""
LONG = (
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft schrieb: "
    "https://example.org/" + "a" * 120 + " and nobody has answered for three weeks, please help me with my parcel"
)


class AnyResult(StepResult):
    """Whatever a test lets a step return."""

    model_config = ConfigDict(extra="allow")

    step: ClassVar[str] = "any"


def check(words: str, passed: bool) -> dict[str, Any]:
    """A condition of the gate."""
    return {"name": "macro-F1", "value": 0.4, "limit": 0.7, "passed": passed, "words": words}


def labels_of(classes: int) -> list[str]:
    return [*AWKWARD, *(f"topic_{number}_of_the_service" for number in range(classes))][:classes]


def prepare_data(labels: list[str], folder: Path) -> dict[str, Any]:
    chance = random.Random(3)
    words = [f"word{number}" for number in range(400)]
    rows = [(" ".join(chance.sample(words, 9)), label) for label in labels for _ in range(12)]
    rows += [*rows[:9], (LONG, labels[0]), (LONG, labels[1]), (f"{LONG} again", labels[0]), ("", labels[0])]
    source = folder / "a-file-with-a-long-name-from-the-service-desk-2026-11-26.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return prepare_data_step.run(DataSettings.model_validate({"source": str(source)}), folder / "dataset").to_json()


def select_model() -> dict[str, Any]:
    chance = np.random.default_rng(1)
    summaries = [
        summarise(
            f"candidate-{number}-with-a-long-name",
            {"learning_rate": 3e-5, "encoder": "sentence-transformers/all-MiniLM-L12-v2", "max_length": 128 + number},
            [
                FoldScore(
                    candidate=f"candidate-{number}-with-a-long-name",
                    fold=fold,
                    macro_f1=float(0.9 - number / 50 + chance.normal() / 60),
                    accuracy=0.9,
                    seconds=12.5,
                    parameters=22_700_000,
                    tokens=1000,
                )
                for fold in range(5)
            ],
        )
        for number in range(9)
    ]
    summaries[0] = summaries[0].model_copy(update={"as_good": True})
    picked = one_standard_error(summaries)
    return {
        "compared": True,
        "chosen": summaries[picked.chosen].name,
        "choice": {},
        "best": summaries[picked.best].name,
        "least_texts": 5,
        "candidates": [summary.model_dump() for summary in summaries],
        "folds": 5,
        "texts": 9000,
        "few": AWKWARD,
    }


def train() -> dict[str, Any]:
    updates = range(10, 410, 10)
    rate = [3e-5 * (1 - update / 400) for update in updates]
    training = [{"update": u, "loss": 4 / (1 + u / 40), "learning_rate": r} for u, r in zip(updates, rate, strict=True)]
    validation = [
        {"update": 40 * e, "epoch": e, "loss": 3 / e, "macro_f1": 1 - 0.6 / e, "accuracy": 1 - 0.5 / e}
        for e in range(1, 11)
    ]
    return {
        "labels": ["billing", "delivery"],
        "dataset_digest": "sha256:" + "0123456789abcdef" * 4,
        "encoder": "minilm",
        "max_length": 64,
        "validation": {"loss": 0.3, "macro_f1": 0.94, "accuracy": 0.95},
        "best_epoch": 10,
        "epochs": 10,
        "updates": 400,
        "parameters": 22_700_000,
        "seconds": 812.4,
        "processes": 2,
        "resumed_from": 120,
        "stopped_early": True,
        "best_update": 400,
        "baselines": [
            {"name": "linear probe", "macro_f1": 0.91, "accuracy": 0.92, "test_macro_f1": 0.9, "test_accuracy": 0.91},
            {"name": "TF-IDF", "macro_f1": 0.81, "accuracy": 0.82, "test_macro_f1": 0.8, "test_accuracy": 0.81},
        ],
        "texts_cut": {"train": 156, "validation": 12, "test": 0},
        "texts_read": {"train": 156, "validation": 40, "test": 50},
        "curves": {"training": training, "validation": validation},
        "settings": TrainSettings().model_dump(),
        "mlflow_run_id": "0123456789abcdef" * 2,
    }


def compress() -> dict[str, Any]:
    names = ["teacher", "teacher-int8", "student-3x384", "student-3x384-int8", "student-2x192", "student-2x192-int8"]
    names += ["pruned-6x384-vocabulary", "pruned-6x384-vocabulary-int8", "student-1x64-int8"]
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "macro_f1": 0.93 - 0.03 * number,
            "accuracy": 0.94 - 0.03 * number,
            "kept": 1 - 0.032 * number,
            "kept_at_least": 0.99 - 0.035 * number,
            "latency_ms": {str(size): 14.0 * size / (1 + number) for size in (1, 8, 32)},
            "latency_p95_ms": {str(size): 16.0 * size / (1 + number) for size in (1, 8, 32)},
            "size_bytes": 90_000_000 // (1 + number),
            "parameters": 22_700_000 // (1 + number),
            "seconds": 30.0 + number,
            "chosen": number == 1,
            "eligible": number < 2,
            "reason": "the fastest of those that keep enough of the teacher's quality" if number == 1 else
            "it keeps less of the teacher's macro-F1 than the settings ask for, with the confidence asked for",
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    return {
        "candidates": rows,
        "chosen": names[1],
        "floor": 0.9,
        "teacher": rows[0],
        "tolerance": {"allowed": 1e-3, "measured": 2.5e-5},
        "threads": 2,
        "settings": CompressSettings().model_dump(),
        "budget": {"exhausted": True, "seconds": 600.0, "unfinished": ["student-4x312", "student-4x312-int8"]},
    }


def evaluate(labels: list[str]) -> dict[str, Any]:
    chance, settings, classes = np.random.default_rng(5), EvaluateSettings(), len(labels)
    truth = np.repeat(np.arange(classes), 30)
    models = []
    for right in (0.93, 0.85):
        hit = chance.random(len(truth)) < right
        predicted = np.where(hit, truth, chance.integers(0, classes, len(truth)))
        models.append(score(truth, predicted, chance.uniform(0.5, 1, len(truth)), labels))
    drawn = chance.normal(0.05, 0.02, 2000)
    counts, edges = np.histogram(drawn, 40)
    interval = {"value": 0.05, "low": 0.02, "high": 0.08}
    typos = {"macro_f1": 0.8, "accuracy": 0.81, "drop": 0.07}
    checks = [
        gate.not_worse(Interval(**interval), len(truth), "12", settings),
        gate.class_recall(models[0], settings),
        gate.calibration(models[0], settings),
        gate.typos(0.2, settings),
    ]
    words = LONG.split()
    explanation = {
        "words": words, "attributions": [0.1 * (-1) ** place for place in range(len(words))], "label": labels[1],
        "baseline": -1.0, "logit": 2.0,
    }  # fmt: skip
    mistake = {"text": LONG, "label": labels[0], "predicted": labels[1], "confidence": 0.98}
    return {
        "labels": labels,
        "texts": len(truth),
        "challenger": asdict(models[0]) | {"typos": typos},
        "champion": asdict(models[1]) | {
            "typos": typos, "version": "12", "same_data": False, "labels_it_lacks": AWKWARD[:2], "labels_now_gone": [],
        },
        "best": {"version": "7", "recorded": 0.94, "same_data": False, "why_not": LONG},
        "identical_to_champion": None,
        "membership": asdict(Membership(0.52, 0.05, 0.02, 500, 500)),
        "intervals": {"macro_f1": interval, "accuracy": interval},
        "difference": {
            "texts": len(truth), "macro_f1": interval, "accuracy": interval,
            "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        },
        "gate": gate.verdict(checks).model_dump(mode="json"),
        "mistakes": [mistake | {"explanation": explanation}, mistake],
        "typo_examples": [(LONG, LONG.swapcase())],
        "settings": settings.model_dump(),
    }  # fmt: skip


def register() -> dict[str, Any]:
    digest = "sha256:" + "0123456789abcdef" * 4
    return {
        "version": "13",
        "size_bytes": 24_000_000,
        "digest": digest,
        "identity": digest,
        "bundle_uri": f"s3://slipway-models/customer-service/bundles/{digest.removeprefix('sha256:')}",
        "is_champion": False,
        "new": True,
        "tags": {
            "dataset_digest": digest,
            "encoder": "sentence-transformers/all-MiniLM-L12-v2",
            "code_version": digest,
        },
        "files": {"model.onnx": 22_000_000, "tokenizer.json": 700_000},
        "model_card": f"# Card\n\n{LONG}\n",
    }


def rollout() -> dict[str, Any]:
    names = ("errors", "slow", "disagreement", "accuracy", "shadow")
    arm = {"bad": 3, "total": 1234, "rate": 3 / 1234, "low": 0.001, "high": 0.006}
    metric = {
        "champion": arm, "challenger": arm, "harm": 0.01, "lower": -0.02, "upper": 0.04, "margin": 0.05,
        "verdict": "go on", "words": "",
    }  # fmt: skip
    timeline = [
        {
            "seconds": float(second),
            "phase": "traffic",
            "percent": 10,
            "requests": 10 * second,
            "champion_requests": 90 * second,
            "texts": 400,
            "metrics": {name: [0.01, -0.5 / second, 0.6 / second] for name in names},
            "rates": {name: [0.02 + 0.01 / second, 0.03 + 0.02 / second] for name in names},
            "verdicts": dict.fromkeys(names, "hold"),
            "verdict": "hold",
        }
        for second in range(5, 120, 5)
    ]
    periods = [
        {"name": name, "percent": percent, "started_s": 20.0 * place, "ended_s": 20.0 * (place + 1), "requests": 200,
         "champion_requests": 900}
        for place, (name, percent) in enumerate(
            [("baseline", 0), ("shadow", 0), ("step", 10), ("step", 25), ("step", 50), ("compare", 50)]
        )
    ]  # fmt: skip
    return {
        "outcome": "rolled_back",
        "reason": "the challenger fails more often than the champion by 7.3 points (4.1 to 10.4), above the margin of "
        "5 points: inference-service-predictor-00013-deployment-7d9c5b8f6d-xk2lp answered 500 to 41 of 560 requests "
        'with {"error":"RuntimeException:[ONNXRuntimeError]:1:FAIL:Non-zero_status_code_returned_while_running_Add"}',
        "version": "13",
        "serving": "12",
        "seconds": 120.0,
        "resumed": 1,
        "requests": {
            "challenger": 1234, "champion": 9876, "clients": 9000, "probes": 2110, "challenger_errors": 41,
            "champion_errors": 3, "copied": 60, "sticky": "x-client-id",
        },
        "compared": {"labelled": 400},
        "slow_ms": 30.0,
        "p95_ms": {"champion": 12.0, "challenger": None},
        "periods": periods,
        "timeline": timeline,
        "metrics": dict.fromkeys(names, metric),
        "settings": RolloutSettings().model_dump(),
    }  # fmt: skip
