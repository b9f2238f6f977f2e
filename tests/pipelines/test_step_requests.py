"""What steps are asked: only what differs from a default, and a version that changes with code, data and weights."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import boto3
import huggingface_hub
import pytest

from slipway.components.prepare_data import hub
from slipway.components.step_runtime.step_request import StepRequest
from slipway.pipelines.settings import load_settings
from slipway.pipelines.step_requests import Requests, requests_of


def versions(requests: Requests) -> dict[str, str]:
    return {name: value for name, value in requests._asdict().items() if name.endswith("_version")}


def changed(before: Requests, after: Requests) -> set[str]:
    return {name for name, value in versions(after).items() if value != versions(before)[name]}


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("learning/loop.py", {"selection_version", "training_version", "compression_version"}),
        ("step_runtime/html.py", set()),
        ("select_model/choice.py", {"selection_version", "training_version"}),
        ("prepare_data/duplicates.py", {"data_version"}),
        ("compress/prune.py", {"compression_version"}),
        ("rollout/driver.py", set()),
    ],
)
def test_changed_code_changes_the_versions_of_the_steps_that_run_it(
    source_tree: Path, module: str, stale: set[str]
) -> None:
    before = requests_of(load_settings(None), "run-1")
    with (source_tree / module).open("a") as file:
        file.write("# changed\n")
    assert changed(before, requests_of(load_settings(None), "run-2")) == stale


def test_what_comes_from_a_hub_is_asked_for_by_its_commit_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    data, weights = "d" * 40, "e" * 40
    monkeypatch.setattr(hub, "revision", lambda source: {"org/texts@v2": data, f"org/texts@{data}": data}[source])
    monkeypatch.setattr(
        huggingface_hub,
        "hf_hub_download",
        lambda *_, **__: f"/hub/models--org--encoder/snapshots/{weights}/config.json",
    )
    candidates = "select.candidates=[{encoder: org/encoder}, {layers: 3}]"
    asked = requests_of(
        load_settings(None, ["data.source=org/texts@v2", "train.encoder=org/encoder", candidates]), "run-1"
    )
    prepare, train = StepRequest.model_validate(asked.prepare), StepRequest.model_validate(asked.train)
    assert prepare.settings["source"] == f"org/texts@{data}"
    assert train.settings["encoder"] == f"org/encoder@{weights}"
    compared = json.dumps(asked.compare)
    assert compared.count("org/encoder") == compared.count(f"org/encoder@{weights}") > 0


def test_changed_data_on_this_machine_are_another_version(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "dev").mkdir(parents=True)
    (data / "dev" / "texts.csv").write_text("text,label")
    settings = load_settings(None, [f"data.source={data}"])
    before = requests_of(settings, "run-1")
    assert not changed(before, requests_of(settings, "run-2"))
    (data / "dev").rename(data / "test")
    assert changed(before, requests_of(settings, "run-3")) == {"data_version"}


def test_changed_data_in_a_store_are_another_version_whoever_starts_the_run(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (login | {"AWS_ENDPOINT_URL": s3}).items():
        monkeypatch.setenv(name, value)
    client, bucket = boto3.client("s3", endpoint_url=s3), uuid.uuid4().hex
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="texts/a.csv", Body=b"text,label\n")
    client.put_object(Bucket=bucket, Key="texts-of-others/b.csv", Body=b"text,label\n")
    for source in (f"s3://{bucket}/texts", f"s3://{bucket}/texts/a.csv"):
        settings = load_settings(None, [f"data.source={source}"])
        before = requests_of(settings, "run-1")
        assert not changed(before, requests_of(settings, "run-2")), "the cache holds over runs"
        client.put_object(Bucket=bucket, Key="texts-of-others/b.csv", Body=uuid.uuid4().bytes)
        assert not changed(before, requests_of(settings, "run-2"))
        client.put_object(Bucket=bucket, Key="texts/a.csv", Body=uuid.uuid4().bytes)
        assert changed(before, requests_of(settings, "run-2")) == {"data_version"}


def test_changed_weights_are_another_version(tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, encoder)
    settings = load_settings(None, [f"train.encoder={encoder}", "select.candidates=[]"])
    before = requests_of(settings, "run-1")
    (encoder / "model.safetensors").write_bytes(b"others")
    assert changed(before, requests_of(settings, "run-2")) == {"training_version"}


@pytest.mark.parametrize(
    ("override", "differ"),
    [
        ("cluster.gateway=http://10.0.0.1", {"rollout"}),
        ("cluster.memory=4Gi", {"train", "rollout"}),
        ("train.seed=7", {"train", "compare"}),
        ("rollout.alpha=0.1", {"rollout"}),
        ("evaluate.min_macro_f1=0.8", {"evaluate", "rollout"}),
        ("model_name=other", {"compress", "evaluate", "register", "rollout"}),
    ],
)
def test_a_changed_setting_changes_the_requests_of_the_steps_that_know_it(override: str, differ: set[str]) -> None:
    before, after = (requests_of(load_settings(None, overrides), "run-1") for overrides in ([], [override]))
    pairs: dict[str, tuple[Any, Any]] = {
        name: (value, after._asdict()[name]) for name, value in before._asdict().items() if name not in versions(before)
    }
    assert {name for name, (old, new) in pairs.items() if old != new} == differ
