"""Every command that the documentation shows is one that works: it is parsed by the real command line, or looked up.

The commands of the tutorial that take seconds are run by `test_tutorial`; those that take minutes are run end to end by
the tests that are named above them.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from slipway.components.errors import BadInput
from slipway.pipelines.cli.main import app
from tests.docs import programs
from tests.docs.pages import ROOT, Block, blocks, inline, pages
from tests.docs.shell import commands

SHOWN = [block for page in pages() for block in blocks(page, "sh")]
APPLIED = sorted({words[words.index("-k") + 1] for block in SHOWN for words in commands(block.code) if "-k" in words})
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))


def test_there_are_commands_on_the_pages_that_show_some() -> None:
    shown = {str(block.page.relative_to(ROOT)) for block in SHOWN}
    assert {"README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/kubernetes.md", "docs/operations.md"} <= shown


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_every_command_shown_would_work(block: Block) -> None:
    found = list(commands(block.code))
    assert found
    for words in found:
        try:
            programs.check(words)
        except Exception as error:
            raise AssertionError(f"{block.page.relative_to(ROOT)}: {' '.join(words)}") from error


@pytest.mark.parametrize(
    "code",
    [
        "slipway frobnicate",
        "slipway run --no-such-option",
        "slipway run --set train.epoch=3",
        "slipway run --set train.epochs=many",
        "slipway keys rotate",
        "make frobnicate",
        "kubectl apply -k manifests/overlays/nowhere",
        "kubectl port-forward service/mlflow 5001",
        "kubectl delete namespace slipway",
        "kubectl label namespace slipway slipway.dev/nothing-",
        "curl http://127.0.0.1:8080/v2/model/messages",
        "docker build -t slipway/slipway-python:0.0.1 .",
        "python -m benchmarks.nothing",
        "pytest tests/nowhere",
        "manifests/install.sh nothing",
        "rm -rf .slipway",
        "true && X=1 slipway frobnicate",
        "value() { slipway frobnicate; }",
        "A=$(slipway frobnicate)",
    ],
)
def test_a_command_that_would_not_work_is_found(code: str) -> None:
    *_, words = sorted(commands(code), key=lambda words: words != ["true"])
    with pytest.raises((AssertionError, BadInput)):
        programs.check(words)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_workflows_run_what_is_there(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    run = [words for script in scripts for words in commands(script.replace("${{ matrix.python }}", "3.13"))]
    ours = [words for words in run if words[0].removeprefix(".venv/bin/") in programs.RULES]
    assert ours
    for words in ours:
        programs.check(words)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_sentences_are_there(page: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for code in inline(page):
        words = code.split()
        if words[0] == "slipway" and len(words) > 1 and re.fullmatch(r"[a-z][\w-]*", words[1]):
            assert words[1] in group.commands, f"{page.name}: {code}"
            inner = group.commands[words[1]]
            if isinstance(inner, TyperGroup) and len(words) > 2:
                assert words[2] in inner.commands, f"{page.name}: {code}"
        if words[0] == "make" and len(words) > 1:
            assert words[1] in programs.make_targets(), f"{page.name}: {code}"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl renders kustomizations")
@pytest.mark.parametrize("folder", APPLIED)
def test_every_kustomization_that_is_applied_renders(folder: str) -> None:
    done = subprocess.run(["kubectl", "kustomize", folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "kind:" in done.stdout
