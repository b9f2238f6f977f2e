"""What the steps of a run found."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.components import step_results


@pytest.fixture(scope="session")
def results_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """Results of all seven steps for a number of classes."""

    def build(classes: int) -> dict[str, Any]:
        labels = step_results.labels_of(classes)
        return {
            "prepare_data": step_results.prepare_data(labels, tmp_path_factory.mktemp("data")),
            "select_model": step_results.select_model(),
            "train": step_results.train(),
            "compress": step_results.compress(),
            "evaluate": step_results.evaluate(labels),
            "register": step_results.register(),
            "rollout": step_results.rollout(),
        }

    return build
