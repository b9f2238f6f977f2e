"""Each form says its version, and one of a later Slipway is named as such."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.components import formats
from slipway.components.artifacts import checkpoint, dataset, encryption, signing
from slipway.components.artifacts.bundle import DRAFT_FILES, Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.clients import api_keys
from slipway.components.errors import BadInput
from slipway.components.rollout import state as rollout_state
from slipway.components.rollout.kserve import record
from slipway.components.rollout.local import state as local_state
from slipway.components.rollout.state import RolloutState
from slipway.components.rollout.target import Revision
from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.progress import Event

NEW = 3


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def refused(read: Callable[[], Any], what: str, newest: int = 1) -> None:
    expected = re.escape(f"has format {NEW}; this Slipway reads up to {newest}: upgrade Slipway")
    with pytest.raises(BadInput, match=f"{what}.* {expected}$"):
        read()


@pytest.mark.parametrize(
    "document", [{}, {"format": 1}, {"format": 2}, b'{"format": 2}', '{"format": 2}', b"{", [], None, {"format": "new"}]
)
def test_what_is_known_or_damaged_passes(document: object) -> None:
    formats.check("it", document, 2)


@pytest.mark.parametrize("document", [{"format": 3, "unknown": 1}, b'{"format": 3}', '{"format": 3}'])
def test_what_is_newer_is_named(document: object) -> None:
    with pytest.raises(BadInput, match="^it has format 3; this Slipway reads up to 2: upgrade Slipway$"):
        formats.check("it", document, 2)


def test_a_bundle(draft_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(draft_bundle, tmp_path / "bundle")
    assert json.loads((draft_bundle / "bundle.json").read_text("utf-8"))["format"] == 1
    rewrite(tmp_path / "bundle" / "bundle.json", format=NEW, new_field=1)
    refused(lambda: Bundle(tmp_path / "bundle"), "bundle.json", newest=2)


def test_an_encrypted_bundle(draft_bundle: Path, tmp_path: Path) -> None:
    folder, key = tmp_path / "bundle", tmp_path / "key"
    shutil.copytree(draft_bundle, folder)
    key.write_bytes(bytes(32))
    encryption.encrypt(folder, DRAFT_FILES, encryption.key_of(str(key)))
    assert json.loads((folder / "encryption.json").read_text("utf-8"))["format"] == 1
    rewrite(folder / "encryption.json", format=NEW, algorithm="new")
    refused(lambda: Bundle(folder, encryption.key_of(str(key))).info, "encryption.json")


def test_a_signature(draft_bundle: Path, tmp_path: Path) -> None:
    folder, keys = tmp_path / "bundle", signing.key_pair(tmp_path / "keys")
    shutil.copytree(draft_bundle, folder)
    signing.sign(folder, keys.private_key)
    signature = json.loads((folder / "signature.json").read_text("utf-8"))
    statement = json.loads(base64.b64decode(signature["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    statement["predicateType"] = f"https://model_signing/signature/v{NEW}.0"
    signature["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (folder / "signature.json").write_text(json.dumps(signature))
    refused(lambda: signing.verify(folder, keys.public_key), "signature.json")


def test_a_dataset(tmp_path: Path) -> None:
    splits = {name: (["a", "b"], [0, 1]) for name in dataset.SPLITS}
    made = dataset.write_dataset(tmp_path, splits, ["x", "y"], {"format": "csv"})
    assert made.info["format"] == 1
    rewrite(tmp_path / "dataset.json", format=NEW)
    refused(lambda: TextDataset(tmp_path), "dataset.json")


def test_a_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    assert json.loads((tiny_checkpoint / "slipway.json").read_text("utf-8"))["format"] == 1
    assert "format" not in checkpoint.load_checkpoint(tiny_checkpoint)[2]
    rewrite(tmp_path / "checkpoint" / "slipway.json", format=NEW)
    refused(lambda: checkpoint.load_checkpoint(tmp_path / "checkpoint"), "slipway.json")


def test_the_state_of_a_service(tmp_path: Path) -> None:
    local_state.save(tmp_path, local_state.State("messages", "public.pem", 1, 2))
    assert json.loads((tmp_path / "state.json").read_text("utf-8"))["format"] == 1
    rewrite(tmp_path / "state.json", format=NEW, champion="another form")
    refused(lambda: local_state.load(tmp_path), "state.json")


def test_the_state_of_a_rollout() -> None:
    plain = rollout_state.to_json(RolloutState(Revision("2", "b", "d"), None))
    assert plain["format"] == 1
    refused(lambda: rollout_state.from_json(plain | {"format": NEW, "phase": "new"}), "the kept state of a rollout")


def test_the_annotation_of_a_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FORMAT", NEW)
    later = record.annotations(record.Record(state={"phase": "traffic"}))
    monkeypatch.undo()
    refused(lambda: record.read(later, 0), "the annotation slipway.dev/rollout")


def test_a_file_of_keys_which_servers_of_earlier_releases_still_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    api_keys.add(path, "shop", [api_keys.Scope.PREDICT])
    assert set(json.loads(path.read_text("utf-8"))) == {"keys"}
    rewrite(path, format=1)
    assert [entry.identity for entry in api_keys.read(path)] == ["shop"]
    rewrite(path, format=NEW, new_field=1)
    refused(lambda: api_keys.read(path), "keys.json")


def test_the_record_of_a_run_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "pod")
    place = str(tmp_path / "runs" / "7")
    mirror = run_record.Mirror(place, "train")
    mirror.event(Event(kind="started", step="train", time=1.0))
    (part,) = Path(place).rglob(run_record.PART)
    assert json.loads(part.read_text("utf-8"))["format"] == 1
    assert len(run_record.read(place).events) == 1
    rewrite(part, format=NEW)
    refused(lambda: run_record.read(place), "the record of the run")
