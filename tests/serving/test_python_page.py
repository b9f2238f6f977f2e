"""The examples of docs/python.md that ask a model server or compile, against a real one that asks for a key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.docs.pages import ROOT, blocks
from tests.serving.conftest import Start

SHOWN = [block for block in blocks(ROOT / "docs" / "python.md", "python") if block.mark == "here"]


@pytest.fixture
def run(start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Run code of the page against a server of our own; returns the names that it made."""
    _, key = api_keys.add(tmp_path / "keys.json", "notebook", [Scope.PREDICT, Scope.EXPLAIN])
    options = ("--public_key", keys.public_key, "--api_keys", tmp_path / "keys.json")
    server = start(signed_bundle, *options).wait_ready()

    def execute(code: str) -> dict[str, Any]:
        names: dict[str, Any] = {}
        exec(code.replace("http://127.0.0.1:8080", server.url).replace("slipway_…", key), names)
        return names

    return execute


def test_the_examples_run_one_after_the_other(
    run: Callable[[str], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run("\n".join(block.code for block in SHOWN))
    predictions = names["predictions"]
    assert predictions.labels.tolist() == ["delivery", "billing"]
    assert predictions.probabilities.shape == (2, len(predictions.classes))
    assert predictions.probabilities.dtype == np.float32
    assert names["status"].ready
    assert (names["first"][0].label, names["second"][0].label) == ("delivery", "billing")
    assert (tmp_path / names["path"]).read_text("utf-8").startswith("# PIPELINE DEFINITION")
    printed = capsys.readouterr().out
    assert "delivery parcel +" in printed
    assert "message does not exist" in printed
