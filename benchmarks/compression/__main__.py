"""`python -m benchmarks.compression --data FOLDER`: train, compress, measure side by side, print the tables."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import numpy as np

from benchmarks.compression import teacher
from benchmarks.compression.contestants import BASELINE, BERT_BASE, FINAL, Contestant, Field, Streams, opened
from benchmarks.compression.tables import STREAMS, markdown, titled
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.compress.measure import Timings, quality, time_side_by_side
from slipway.components.compress.quality import kept
from slipway.components.compress.settings import CompressSettings

FIRST_SEED = 13
BATCHES = (1, 16)
BATCHES_OF_A_ROUND = 4
"""Batches that are shared out among the streams."""
STUDENT: dict[str, Any] = {
    "layers_kept": 0.667,
    "heads_kept": 0.67,
    "neurons_kept": 0.375,
    "distil_epochs": 1,
    "augmentation": 2.0,
    "recovery_epochs": 2,
    "vocabulary_kept": 0.7,
    "batch_size": 32,
    "bfloat16": True,
    "budget_s": 86400,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.compression", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, dev.tsv and test.tsv of SST-2")
    parser.add_argument("--seeds", type=int, default=1, help="teachers and students; speed is measured with the first")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], help="of an inference")
    parser.add_argument("--train-threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--teacher-processes", type=int, default=1, help="data-parallel workers of the teacher")
    parser.add_argument("--rounds", type=int, default=40, help="in which every model is timed once")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--openvino", type=Path, help="site-packages with openvino and nncf, if they are not installed")
    parser.add_argument("--test", action="store_true", help="look at the test split too: once, at the end")
    parser.add_argument("--work", type=Path, default=Path("/tmp/slipway-compression"), help="what reruns start from")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/compression/results.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    data = teacher.read_dataset(given.data, given.work)
    seeds = [FIRST_SEED + number for number in range(given.seeds)]
    of_seeds = [_contestants(data, seed, given, first=seed == FIRST_SEED) for seed in seeds]
    rows = [_row(contestant, of_seeds[0][0]) for contestant in of_seeds[0]]
    for split in ["validation", *(["test"] if given.test else [])]:
        _add_quality(rows, data, split, of_seeds)
    ways = [STREAMS, *map(str, given.threads)]
    for way in ways:
        _time(of_seeds[0], rows, data.texts("validation"), way, given.rounds)
    results = {
        "machine": f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "texts": f"natural lengths, {len(data.texts('validation'))} dev sentences",
        "command": " ".join(sys.argv[1:]),
        "seeds": seeds,
        "ways": ways,
        "student": STUDENT,
        "rows": rows,
    }
    results["targets"] = _targets(rows, ways)
    given.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(markdown(results))


def _contestants(data: TextDataset, seed: int, given: argparse.Namespace, first: bool) -> list[Contestant]:
    checkpoint = teacher.trained(data, given.encoder, seed, given.teacher_processes, given.work)
    settings = CompressSettings(**STUDENT, seed=seed, train_threads=given.train_threads)
    field = Field(checkpoint, data, settings, given.work)
    contestants = list(field.contestants())
    if first:
        contestants += _under_openvino(field, contestants, given.openvino)
    return contestants


def _under_openvino(field: Field, contestants: Sequence[Contestant], packages: Path | None) -> list[Contestant]:
    """The teacher and the student under OpenVINO, if it is there."""
    if packages:
        sys.path.append(str(packages))
    try:
        from benchmarks.compression.nncf_models import converted, quantised

        named = {contestant.name: contestant for contestant in contestants}
        student = named["vocabulary pruned, student in FP32"]
        vocabulary = field.vocabulary
        return [
            quantised(named[BASELINE], "NNCF post-training int8 alone (OpenVINO)", field.feeds(None)),
            converted(named[BASELINE], "teacher, OpenVINO FP32"),
            quantised(student, "our student, NNCF int8 (OpenVINO)", field.feeds(vocabulary)),
        ]
    except ImportError as error:
        print(f"without OpenVINO and NNCF: {error}", file=sys.stderr)
        return []


def _row(contestant: Contestant, baseline: Contestant) -> dict[str, Any]:
    return {
        "group": contestant.group,
        "name": contestant.name,
        "size": contestant.size,
        "smaller": baseline.size / contestant.size,
        "speed": {},
    }


def _add_quality(
    rows: list[dict[str, Any]], data: TextDataset, split: str, of_seeds: Sequence[Sequence[Contestant]]
) -> None:
    """Accuracy, and the share of the teacher's that is kept: means over the seeds, with each seed's own."""
    texts, label_ids, classes = data.texts(split), data.label_ids(split), len(data.labels)
    prefix = "" if split == "validation" else f"{split}_"
    found: dict[str, list[tuple[float, float, float]]] = {row["name"]: [] for row in rows}
    for contestants in of_seeds:
        answers = {one.name: opened(one, 0).logits(texts).argmax(axis=1) for one in contestants if one.group != "speed"}
        accuracy_of_teacher = quality(answers[BASELINE], label_ids, classes)[0]
        for name, answer in answers.items():
            accuracy = quality(answer, label_ids, classes)[0]
            bound = kept(label_ids, answer, answers[BASELINE], classes, 0.95).at_least
            found[name].append((accuracy, accuracy / accuracy_of_teacher, bound))
    for row in rows:
        if scores := found[row["name"]]:
            for place, name in enumerate(("accuracy", "kept", "kept_at_least")):
                row[f"{prefix}{name}"] = mean(one[place] for one in scores)
            row[f"{prefix}accuracies"] = [one[0] for one in scores]


def _time(
    contestants: Sequence[Contestant], rows: list[dict[str, Any]], texts: Sequence[str], way: str, rounds: int
) -> None:
    """Add to each row its milliseconds, and how many times as fast it is as the teacher in the same round.

    Args:
        contestants: what is timed.
        rows: of the contestants, in their order.
        texts: of natural lengths.
        way: how many threads an inference has, or `STREAMS` for as many inferences at the same time as there are cores.
        rounds: in which each is timed once.
    """
    timings: dict[str, Timings] = {contestant.name: {} for contestant in contestants}
    if way == STREAMS:
        cores = len(os.sched_getaffinity(0))
        for batch in BATCHES:
            classifiers = {one.name: Streams(one, cores, batch) for one in contestants}
            count = BATCHES_OF_A_ROUND * batch
            for name, found in time_side_by_side(classifiers, texts, rounds, 0, (count,)).items():
                timings[name][batch] = [one / BATCHES_OF_A_ROUND for one in found[count]]
    else:
        classifiers_of_one = {contestant.name: opened(contestant, int(way)) for contestant in contestants}
        timings = time_side_by_side(classifiers_of_one, texts, rounds, 0, BATCHES)
    before = ""
    for row in rows:
        own = timings[row["name"]]
        row["speed"][way] = {str(batch): _speed(timings, own, batch) for batch in BATCHES}
        if row["group"] == "cumulative":
            for batch in BATCHES if before else ():
                row["speed"][way][str(batch)]["gain"] = _ratio(timings[before][batch], own[batch])
            before = row["name"]


def _speed(timings: dict[str, Timings], own: Timings, batch: int) -> dict[str, float]:
    return {
        "median_ms": median(own[batch]),
        "p95_ms": quantiles(own[batch], n=20, method="inclusive")[-1],
        "faster": _ratio(timings[BASELINE][batch], own[batch]),
        "than_bert_base": _ratio(timings[BERT_BASE][batch], own[batch]),
    }


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the ratios in the same round."""
    return float(np.median(np.array(slow) / np.array(fast)))


def _targets(rows: Sequence[dict[str, Any]], ways: Sequence[str]) -> list[list[str]]:
    """What was wanted, what was measured, and by how much it was missed."""
    final = next(row for row in rows if row["name"] == FINAL)
    wanted: list[tuple[str, float, float]] = [
        ("share of the teacher's dev accuracy", 0.99, final["kept"]),
        ("times smaller on disk", 6.0, final["smaller"]),
    ]
    if "test_kept" in final:
        wanted.append(("share of the teacher's test accuracy", 0.99, final["test_kept"]))
    for way in ways:
        for batch in ("1", "16"):
            found = final["speed"][way][batch]
            at = f"batch {batch}, {titled(way)}"
            wanted.append((f"times the teacher's ORT FP32 speed, {at}", 5.0, found["faster"]))
            wanted.append((f"times BERT-base's ORT FP32 speed, {at}", 40.0, found["than_bert_base"]))
    return [
        [name, f"{goal:g}", f"{value:.3g}", "reached" if value >= goal else f"missed by {1 - value / goal:.1%}"]
        for name, goal, value in wanted
    ]


if __name__ == "__main__":
    main()
