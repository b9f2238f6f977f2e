"""The compiled pipeline's steps as pods: nothing in them needs the machine that compiled it."""

import base64
import csv
from pathlib import Path
from typing import Any

import pytest

from components import run_record, signing, storage
from components.bundle import Bundle
from components.registry import Registry
from tests.cluster.compiled import CompiledRun, compile_for, make_claim
from tests.conftest import WORDS, messages

pytestmark = pytest.mark.cluster
MODEL = "compiled"


@pytest.fixture(scope="module")
def package(platform: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled pipeline, for the image under test."""
    make_claim(platform)
    return compile_for(platform.cluster.image, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def keys(platform: Any, tmp_path_factory: pytest.TempPathFactory) -> signing.KeyPair:
    """The key pair whose private key is the secret `slipway-signing`."""
    pair = signing.key_pair(tmp_path_factory.mktemp("keys"))
    content = base64.b64encode(pair.private_key.read_bytes()).decode()
    metadata = {"name": "slipway-signing", "namespace": platform.namespace}
    platform.cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"private.pem": content}}
    )
    return pair


def parameters(platform: Any, store: str, source: str) -> dict[str, Any]:
    """A small model of few texts, on what the manifests of the tests have."""
    return {
        "model_name": MODEL,
        "tracking_uri": platform.mlflow_inside,
        "record": f"{store}/runs",
        "data": {"source": source, "near_duplicate_similarity": 1.0},
        "train": {"layers": 1, "max_length": 16, "epochs": 2, "processes": 1, "learning_rate": 5e-4},
        "compress": {"distil": False, "prune": False, "latency_rounds": 3},
        "evaluate": {"min_macro_f1": 0.1, "min_class_recall": 0.0, "max_calibration_error": 1.0, "max_typo_drop": 1.0},
        "registry": {"store": f"{store}/bundles"},
        "cluster": {
            "namespace": platform.namespace,
            "image": platform.cluster.image,
            "store": store,
            "cpu": "100m",
            "memory": "1Gi",
        },
    }


def texts_in(store: str, folder: Path) -> str:
    """A file of labelled texts in the store."""
    folder.mkdir()
    with (folder / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        texts, labels = messages(120, 1)
        rows.writerows([text, list(WORDS)[label]] for text, label in zip(texts, labels, strict=True))
    storage.upload_folder(folder, f"{store}/data")
    return f"{store}/data/messages.csv"


def test_steps_run_as_compiled_and_leave_a_registered_bundle_and_a_report(
    platform: Any, store: str, package: Path, keys: signing.KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    run = CompiledRun(platform, package, parameters(platform, store, texts_in(store, tmp_path / "data")))
    run.made["select-model-choice"] = {}

    for task in ("prepare-data", "train", "compress", "evaluate", "register"):
        ended = run.run(task)
        assert ended.exit_code == 0, f"{task}: {ended.log}"
        if task == "prepare-data":  # the step in between is a loop, which only a real driver runs
            run.artifacts["select-model-results"] = run.artifacts["prepare-data-results"]
        if task == "train":
            assert f"PyTorchJob {platform.namespace}/train-" in ended.log
    ended = run.run("report", "SUCCEEDED")
    assert ended.exit_code == 0, ended.log

    record = run_record.read(f"{store}/runs/{run.run_id}")
    assert record.failure is None
    assert list(record.results) == ["prepare_data", "train", "compress", "evaluate", "register"]
    finished = [event["step"] for event in record.events if event["kind"] == "finished"]
    assert finished == list(record.results)
    champion = Registry(platform.mlflow, MODEL).version(record.results["register"]["version"])
    assert champion.tags["run"] == run.run_id
    bundle = tmp_path / "bundle"
    storage.download_folder(champion.bundle_uri, bundle)
    signing.verify(bundle, keys.public_key)
    assert Bundle(bundle).info.labels == sorted(WORDS)
    report = tmp_path / "report.html"
    run_record.get_report(f"{store}/runs/{run.run_id}", report)
    for step in record.results:
        assert f'<section id="{step}">' in report.read_text("utf-8")
    assert platform.credentials["AWS_SECRET_ACCESS_KEY"] not in ended.log + report.read_text("utf-8")


def test_the_report_of_a_run_that_failed_in_a_pod_says_where_and_why(
    platform: Any, store: str, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    run = CompiledRun(platform, package, parameters(platform, store, f"{store}/data/absent.csv"))

    ended = run.run("prepare-data")
    assert ended.exit_code != 0
    assert run.run("report", "FAILED").exit_code == 0

    report = tmp_path / "report.html"
    run_record.get_report(f"{store}/runs/{run.run_id}", report)
    assert "prepare_data: " in report.read_text("utf-8")
    assert "absent.csv" in report.read_text("utf-8")
