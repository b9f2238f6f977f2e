"""Hugging Face datasets, with the real client against a small hub on this machine."""

import io
import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from huggingface_hub import constants

from slipway.components.errors import BadInput
from slipway.components.prepare_data import hub, sources
from slipway.components.prepare_data.settings import DataSettings
from tests.components import hub_server

COMMIT = "a" * 40
TOKEN = "hf_of-the-tests"


def table(rows: list[tuple[str, int]]) -> bytes:
    """A Parquet file with a class label column, as the datasets library writes it."""
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "topic": {"names": ["billing", "delivery"], "_type": "ClassLabel"},
    }
    content = pa.table(
        {"text": [text for text, _ in rows], "topic": pa.array([label for _, label in rows], pa.int64())}
    )
    buffer = io.BytesIO()
    parquet.write_table(
        content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), buffer
    )
    return buffer.getvalue()


FILES = {"train.parquet": table([("pay me", 0), ("my parcel", 1)]), "test.parquet": table([("hidden label", -1)])}


class Hub(hub_server.HubHandler):
    """Just enough of the hub's API for one dataset, `org/messages`."""

    shown: ClassVar[list[str]] = []
    """What clients sent as authorization."""

    def respond(self) -> None:
        self.shown.append(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/datasets/org/messages/tree/{COMMIT}"):
            files = [{"type": "file", "oid": name, "size": len(data), "path": name} for name, data in FILES.items()]
            self.answer(json.dumps(files).encode(), COMMIT)
        elif path in ("/api/datasets/org/messages/revision/none", "/datasets/org/messages/resolve/none/README.md"):
            self.answer(b"{}", COMMIT, "RevisionNotFound")
        elif path.startswith("/datasets/org/messages/resolve/") and f"/{COMMIT}/" not in path:
            self.answer(b"", COMMIT, "RevisionNotFound")  # nothing may be read but by its commit
        elif path.startswith("/api/datasets/org/messages"):
            names = [{"rfilename": name} for name in FILES]
            self.answer(json.dumps({"id": "org/messages", "sha": COMMIT, "siblings": names}).encode(), COMMIT)
        elif path.startswith("/datasets/org/messages/resolve/"):
            name = path.rpartition("/")[2]
            self.answer(FILES[name], COMMIT) if name in FILES else self.answer(b"", COMMIT, "EntryNotFound")
        else:
            self.answer(b"{}", COMMIT, "RepoNotFound")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of the small hub."""
    with hub_server.at_work(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as address:
        yield address


@pytest.mark.parametrize("ready", [True, False])
def test_a_dataset_of_the_hub_is_read_with_the_names_of_its_classes(endpoint: str, tmp_path: Path, ready: bool) -> None:
    code = f"""
import json
from slipway.components.prepare_data import sources
from slipway.components.prepare_data.settings import DataSettings
print(json.dumps(sources.read(DataSettings(source="org/messages", label_column="topic", ready_splits={ready}))))
"""
    done = hub_server.run(code, endpoint, tmp_path, HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"Bearer {TOKEN}" in Hub.shown
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    examples, parts = json.loads(done.stdout)
    assert [example[:3] for example in examples] == [
        ["pay me", "billing", "train" if ready else ""],
        ["my parcel", "delivery", "train" if ready else ""],
        ["hidden label", "", "test" if ready else ""],
    ]
    assert parts == ["train", "test"]


@pytest.mark.parametrize("source", ["org/messages", "org/messages@main", f"org/messages@{COMMIT}"])
def test_a_dataset_is_pinned_to_its_commit(endpoint: str, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    settings = sources.pinned(DataSettings(source=source))
    assert settings.source == f"org/messages@{COMMIT}"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert sources.version(settings) == COMMIT


def test_an_unknown_revision_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(BadInput, match="'org/messages' has no revision 'none'; give a branch, tag or commit"):
        hub.read(DataSettings(source="org/messages@none"))


def test_an_unknown_dataset_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    with pytest.raises(BadInput, match="'org/none' is neither a file or folder here nor a Hugging Face dataset"):
        hub.read(DataSettings(source="org/none"))


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="'org/none' .* http://127.0.0.1:9 cannot be reached"):
        hub.read(DataSettings(source="org/none"))


def test_without_network_a_path_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    settings = DataSettings(source="data/reviews")
    with pytest.raises(BadInput, match="'data/reviews' is neither a file nor a folder here, nor a .* in the cache"):
        sources.version(settings)
    (tmp_path / "data___reviews").mkdir()
    assert sources.version(settings) is None
