"""The version of a step's code is that of what it imports, and of nothing else."""

from pathlib import Path

import pytest

from slipway.components.step_runtime import code_version

STEPS = ("prepare_data", "select_model", "train", "compress")


def stale_after(change: Path) -> set[str]:
    """The steps whose version a change of a file changes."""
    before = {step: code_version.code_version(step) for step in STEPS}
    with change.open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    return {step for step in STEPS if code_version.code_version(step) != before[step]}


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("step_runtime/html.py", set()),
        ("step_runtime/step_context.py", set()),
        ("train/report.py", set()),
        ("explanation/picture.py", set()),
        ("rollout/driver.py", set()),
        ("errors.py", set(STEPS)),
        ("train/worker.py", {"train"}),  # a string names it: the program of a child process
        ("learning/private_updates.py", {"select_model", "train", "compress"}),  # imported by a function
        ("compress/quantise.py", {"compress"}),
        ("learning/scores.py", {"select_model", "train", "compress"}),
        ("prepare_data/samples/customer_messages.csv", {"prepare_data"}),
    ],
)
def test_a_change_makes_those_steps_stale_that_run_the_code(source_tree: Path, file: str, steps: set[str]) -> None:
    assert stale_after(source_tree / file) == steps


def test_every_folder_on_the_way_counts() -> None:
    """Python runs the `__init__.py` of each package before a module in it."""
    files = {path.relative_to(code_version.ROOT).as_posix() for path in code_version.code_of("train")}
    assert {"__init__.py", "train/__init__.py", "learning/__init__.py"} <= files


def test_a_step_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"slipway\.components\.trian\.step is no module"):
        code_version.code_version("train", "trian")
