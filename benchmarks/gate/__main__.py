"""Simulate series of releases with the checks of the gate: `python -m benchmarks.gate --series 30`."""

import argparse

import numpy as np

from slipway.components.evaluate import gate
from slipway.components.evaluate.result import BestSoFar
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Resamples, interval
from slipway.components.learning.scores import Indices, confusion_matrix, macro_f1

TEXTS, CLASSES, ACCURACY = 2000, 5, 0.88
CHURN = 0.05
"""Share of the texts on which a model is right and the next one is wrong, and the other way round."""
SAMPLES, RELEASES = 200, 20
TRUTH: Indices = np.arange(TEXTS) % CLASSES


def score(predicted: Indices) -> float:
    """Macro-F1 of predictions."""
    return float(macro_f1(confusion_matrix(TRUTH, predicted, CLASSES)))


def successor(champion: Indices, accuracy: float, worse: float, generator: np.random.Generator) -> Indices:
    """The predictions of a model whose accuracy lies a share `worse` below that of the champion."""
    right, chance = champion == TRUTH, generator.random(TEXTS)
    is_right = np.where(right, chance >= (CHURN + worse) / accuracy, chance < CHURN / (1 - accuracy))
    wrong = (TRUTH + generator.integers(1, CLASSES, TEXTS)) % CLASSES
    return np.where(is_right, TRUTH, np.where(right, wrong, champion))


def series(worse: float, settings: EvaluateSettings, with_best: bool, seed: int) -> tuple[float, float]:
    """Try `RELEASES` models, each worse than the champion at hand; a refused one is followed by the next try.

    Returns:
        The share that passed, and the accuracy that was lost in all.
    """
    generator = np.random.default_rng(seed)
    champion = np.where(generator.random(TEXTS) < ACCURACY, TRUTH, (TRUTH + 1) % CLASSES)
    reference = best = score(champion)
    passed, lost = 0, 0.0
    for release in range(RELEASES):
        challenger = successor(champion, ACCURACY - lost, worse, generator)
        value = score(challenger)
        drawn = Resamples(TRUTH, challenger, champion, CLASSES, SAMPLES, release).differences("macro_f1")
        difference = interval(value - reference, drawn, settings.confidence)
        checks = [gate.not_worse(difference, TEXTS, "1", settings)]
        if with_best:
            so_far = BestSoFar(version="1", recorded=best, same_data=True, macro_f1=best, drop=best - value)
            checks += [check for check in [gate.near_best(so_far, settings)] if check]
        if all(check.passed for check in checks):
            champion, reference, best, lost = challenger, value, max(best, value), lost + worse
            passed += 1
    return passed / RELEASES, lost


def main() -> None:
    """Print a table: the loss of each release, the margin, and what passes and adds up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=30, help="series of each row")
    count = parser.parse_args().series
    print("| each release is worse by | margin | compared with the best | pass | lost in all, mean | most |")
    print("|---|---|---|---|---|---|")
    for worse in (0.02, 0.01, 0.005, 0.0):
        for margin, with_best in ((0.05, False), (0.02, False), (0.02, True)):
            settings = EvaluateSettings(max_drop=margin)
            found = np.array([series(worse, settings, with_best, seed) for seed in range(count)])
            passed, lost, most = found[:, 0].mean(), found[:, 1].mean(), found[:, 1].max()
            told = (
                f"{worse:.1%} | {margin:.0%} | {'yes' if with_best else 'no'} | {passed:.0%} | {lost:.1%} | {most:.1%}"
            )
            print(f"| {told} |", flush=True)


if __name__ == "__main__":
    main()
