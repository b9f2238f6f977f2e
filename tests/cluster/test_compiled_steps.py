"""The compiled pipeline as pods, whole: nothing in it needs the machine that compiled it."""

import base64
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import Bundle
from slipway.components.clients import api_keys
from slipway.components.clients.credentials import API_KEY
from slipway.components.platforms import storage
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.step_runtime import run_record
from tests.cluster.clients import Clients
from tests.cluster.compiled import CompiledRun, compile_for, make_volume
from tests.cluster.conftest import Platform
from tests.cluster.serving import QUICK
from tests.conftest import WORDS, messages

pytestmark = pytest.mark.cluster
MODEL = "compiled"
STEPS = ["prepare_data", "select_model", "train", "compress", "evaluate", "register", "rollout"]
TEXTS, LABELS = messages(120, 1)


@pytest.fixture(scope="module")
def package(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled pipeline, for the image under test."""
    make_volume(platform)
    return compile_for(platform.cluster.image, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def keys(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[signing.KeyPair]:
    """Keys as `manifests/install.sh` makes them: for signing, and for clients of the model servers."""
    folder = tmp_path_factory.mktemp("keys")
    pair = signing.key_pair(folder)
    assert isinstance(pair.private_key, Path)
    _, key = api_keys.add(folder / "api-keys.json", "rollout", [api_keys.Scope.PREDICT, api_keys.Scope.ROLLOUT])
    made = {
        ("Secret", "slipway-signing"): ("private.pem", pair.private_key.read_bytes()),
        ("Secret", "slipway-api-keys"): ("api-keys.json", (folder / "api-keys.json").read_bytes()),
        ("Secret", "slipway-client"): (API_KEY, key.encode()),
        ("ConfigMap", "slipway-public-key"): ("public.pem", pair.public_key.read_bytes()),
    }
    for (kind, name), (file, content) in made.items():
        metadata = {"name": name, "namespace": platform.namespace}
        data = {file: (base64.b64encode(content) if kind == "Secret" else content).decode()}
        platform.cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", platform.cluster.kubeconfig)
        patch.setenv(API_KEY, key)
        yield pair
    platform.cluster.kubectl(
        "delete", "inferenceservice", MODEL, "--ignore-not-found", "--namespace", platform.namespace
    )


def form(platform: Platform, store: str, source: str) -> dict[str, Any]:
    """What a person fills in for a small model of few texts, on what the manifests of the tests have."""
    return {
        "model_name": MODEL,
        "source": source,
        "epochs": 2,
        "processes": 1,
        "min_macro_f1": 0.1,
        "canary_steps": QUICK.steps,
        "settings": {
            "tracking_uri": platform.mlflow_inside,
            "data.near_duplicate_similarity": 1.0,
            "select": {"candidates": [{"layers": 1}, {"layers": 2}], "folds": 2, "epochs": 1, "texts": 40},
            "train": {"layers": 1, "max_length": 16, "learning_rate": 5e-4},
            "compress": {"distil": False, "prune": False, "latency_rounds": 3},
            "evaluate": {"max_drop": 1.0, "min_class_recall": 0.0, "max_calibration_error": 1.0, "max_typo_drop": 1.0},
            "rollout": QUICK.model_dump() | {"max_disagreement": 0.9, "max_accuracy_drop": 0.9},
            "cluster": {
                "namespace": platform.namespace,
                "image": platform.cluster.image,
                "store": store,
                "cpu": "100m",
                "memory": "1Gi",
            },
        },
    }


@pytest.fixture
def given(platform: Platform, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The form of the pipeline, with labelled texts in the store."""
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([text, list(WORDS)[label]] for text, label in zip(TEXTS, LABELS, strict=True))
    storage.upload_folder(folder, f"{store}/data")
    return form(platform, store, f"{store}/data/messages.csv")


def champion(platform: Platform) -> Version:
    """The registered version that serves; the InferenceService says the same."""
    found = Registry(platform.mlflow, MODEL).champion()
    assert found
    annotations = platform.read("inferenceservice", MODEL)["metadata"]["annotations"]
    assert annotations["slipway.dev/champion-version"] == found.version
    assert annotations["slipway.dev/champion-digest"] == found.digest
    return found


def test_every_step_is_a_pod_and_the_second_run_takes_over_live_traffic(
    platform: Platform,
    gateway: str,
    given: dict[str, Any],
    store: str,
    keys: signing.KeyPair,
    package: Path,
    tmp_path: Path,
) -> None:
    run = CompiledRun(platform, package, tmp_path / "first")
    run.to_its_end(given)

    assert {task: len(pods) for task, pods in run.ended.items()} == {
        "preflight": 1,
        "prepare-data": 1,
        "cross-validate": 2,  # two candidates
        **dict.fromkeys(["train", "compress", "evaluate", "register", "rollout", "report"], 1),
    }
    assert f"PyTorchJob {platform.namespace}/train-" in run.ended["train"][0].log
    record = run_record.read(f"{store}/runs/{run.run_id}")
    assert record.failure is None
    assert set(record.results) == {"preflight", *STEPS}
    assert [event.step for event in record.events if event.kind == "finished"] == ["preflight", *STEPS]
    first = champion(platform)
    assert (first.version, first.tags["run"]) == (record.results["register"]["version"], run.run_id)
    bundle = tmp_path / "bundle"
    storage.download_folder(first.bundle_uri, bundle)
    signing.verify(bundle, keys.public_key)
    assert Bundle(bundle).info.labels == sorted(WORDS)
    report = tmp_path / "report.html"
    run_record.get_report(f"{store}/runs/{run.run_id}", report)
    for step in STEPS:
        assert f'<section id="{step}">' in report.read_text("utf-8")
    assert platform.credentials["AWS_SECRET_ACCESS_KEY"] not in run.logs() + report.read_text("utf-8")

    given["settings"]["select"]["candidates"] = []
    given["settings"]["train"]["seed"] = 14
    run = CompiledRun(platform, package, tmp_path / "second")
    endpoint = KServeTarget(MODEL, ClusterSettings(namespace=platform.namespace, gateway=gateway)).endpoint()
    with Clients(endpoint, MODEL, TEXTS, count=1) as clients:
        run.to_its_end(given)
        second = champion(platform)
        clients.wait_for(second.version)

    assert [len(run.ended[task]) for task in ("cross-validate", "train", "rollout")] == [1, 1, 1]
    result: Any = run_record.read(f"{store}/runs/{run.run_id}").results["rollout"]
    assert result["outcome"] == "promoted", result["reason"]
    assert result["requests"]["challenger"] >= QUICK.minimum_requests
    assert clients.failures == []
    assert set(clients.by_version()) == {first.version, second.version}


def test_the_report_of_a_run_that_failed_in_a_pod_says_where_and_why(
    platform: Platform, given: dict[str, Any], store: str, package: Path, tmp_path: Path
) -> None:
    given["label_column"] = "topic"
    run = CompiledRun(platform, package, tmp_path / "run")

    with pytest.raises(RuntimeError, match="prepare-data"):
        run.to_its_end(given)

    assert list(run.ended) == ["preflight", "prepare-data", "report"]
    report = tmp_path / "report.html"
    run_record.get_report(f"{store}/runs/{run.run_id}", report)
    assert "prepare_data: " in report.read_text("utf-8")
    assert "has no column" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"rollout.max_eror_rise": 0.1},
            "rollout.max_eror_rise is unknown; did you mean rollout.max_error_rise",
        ),
        ({"cluster.namespace": "absent"}, "namespace absent"),
        ({"data.source": "s3://absent-bucket/x.csv"}, "settings has data.source"),
    ],
    ids=["setting", "namespace", "twice"],
)
def test_what_cannot_go_well_ends_the_run_before_its_first_step(
    platform: Platform,
    given: dict[str, Any],
    store: str,
    package: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
) -> None:
    for name, value in changes.items():
        section, _, field = name.partition(".")
        given["settings"].setdefault(section, {})[field] = value
    run = CompiledRun(platform, package, tmp_path / "run")

    with pytest.raises(RuntimeError, match="preflight"):
        run.to_its_end(given)

    assert list(run.ended) == ["preflight", "report"]
    failure = run_record.read(f"{store}/runs/{run.run_id}").failure
    assert failure
    assert (failure.step, failure.exit_code) == ("preflight", 2)
    assert words in failure.message
