"""The best version so far: which one it is, and its macro-F1 on the test split of this run.

Each release may lose a little against the champion. Compared with the best version that was ever promoted, many such
losses cannot add up.
"""

import math
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import SlipwayError
from slipway.components.evaluate.predictions import Evaluated, Exam, macro_f1_of
from slipway.components.evaluate.result import BestSoFar
from slipway.components.platforms.model_registry import DATASET, LABELS, TEST_MACRO_F1, Version, labels_digest


def best_of(versions: Iterable[Version], data: TextDataset) -> Version | None:
    """The version with the highest macro-F1 when it was registered; None if there is none.

    Versions with other labels than those of the data are left out: who knows fewer classes confuses fewer. Versions of
    earlier releases do not tell their labels, and are kept.
    """
    labels = labels_digest(data.labels)
    alike = [version for version in versions if version.tags.get(LABELS, labels) == labels]
    scored = [version for version in alike if math.isfinite(recorded(version))]
    return max(scored, key=lambda version: (recorded(version), int(version.version)), default=None)


def recorded(version: Version) -> float:
    """Macro-F1 of a version when it was registered; NaN when that is not known."""
    try:
        return float(version.tags.get(TEST_MACRO_F1, "nan"))
    except ValueError:
        return math.nan


def compared(
    best: Version,
    challenger: float,
    champion: Evaluated | None,
    exam: Exam,
    data: TextDataset,
    download: Callable[[Version, Path], Bundle],
) -> BestSoFar:
    """Compare a challenger with the best version so far, on the test split of this run.

    A version that was tested on this split before is not tested again, so its bundle may be gone.

    Args:
        best: the best version.
        challenger: macro-F1 of the challenger.
        champion: the champion on the test split if it is the best version, otherwise None.
        exam: the test split.
        data: the dataset of the challenger.
        download: puts the bundle of a version into a folder and opens it.
    """
    same_data = best.tags.get(DATASET) == data.digest
    found = BestSoFar(version=best.version, recorded=recorded(best), same_data=same_data)
    try:
        if champion:
            labels, score = champion.labels, champion.clean.macro_f1
        elif same_data:
            labels, score = data.labels, found.recorded
        else:
            with tempfile.TemporaryDirectory() as folder:
                bundle = download(best, Path(folder) / "bundle")
                labels, score = bundle.info.labels, macro_f1_of(bundle, exam)
    except SlipwayError as error:
        return found.model_copy(update={"why_not": f"its bundle cannot be used ({error})"})
    if sorted(labels) != sorted(data.labels):
        return found.model_copy(update={"why_not": "it answers other labels"})
    return found.model_copy(update={"macro_f1": score, "drop": score - challenger})
