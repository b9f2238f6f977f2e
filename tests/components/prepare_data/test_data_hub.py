"""Hugging Face datasets, with the real client against a small hub on this machine."""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from components.errors import BadInput
from components.prepare_data import hub, sources
from components.prepare_data.settings import DataSettings

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


class Hub(http.server.BaseHTTPRequestHandler):
    """Just enough of the hub's API for one dataset, `org/messages`."""

    shown: ClassVar[list[str]] = []
    """What clients sent as authorization."""

    def respond(self) -> None:
        self.shown.append(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/datasets/org/messages/tree/{COMMIT}"):
            files = [{"type": "file", "oid": name, "size": len(data), "path": name} for name, data in FILES.items()]
            self.answer(json.dumps(files).encode())
        elif path in ("/api/datasets/org/messages/revision/none", "/datasets/org/messages/resolve/none/README.md"):
            self.answer(b"{}", "RevisionNotFound")
        elif path.startswith("/datasets/org/messages/resolve/") and f"/{COMMIT}/" not in path:
            self.answer(b"", "RevisionNotFound")  # nothing may be read but by its commit
        elif path.startswith("/api/datasets/org/messages"):
            names = [{"rfilename": name} for name in FILES]
            self.answer(json.dumps({"id": "org/messages", "sha": COMMIT, "siblings": names}).encode())
        elif path.startswith("/datasets/org/messages/resolve/"):
            name = path.rpartition("/")[2]
            self.answer(FILES[name]) if name in FILES else self.answer(b"", "EntryNotFound")
        else:
            self.answer(b"{}", "RepoNotFound")

    do_GET = do_HEAD = respond  # noqa: N815

    def answer(self, body: bytes, error: str = "") -> None:
        self.send_response(404 if error else 200)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of the small hub."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("ready", [True, False])
def test_a_dataset_of_the_hub_is_read_with_the_names_of_its_classes(endpoint: str, tmp_path: Path, ready: bool) -> None:
    code = f"""
import json
from components.prepare_data import sources
from components.prepare_data.settings import DataSettings
print(json.dumps(sources.read(DataSettings(source="org/messages", label_column="topic", ready_splits={ready}))))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}  # the client reads them when it is imported
    environment["HF_TOKEN"] = TOKEN
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Bearer {TOKEN}" in Hub.shown
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    examples, parts = json.loads(done.stdout)
    assert examples == [
        ["pay me", "billing", "train" if ready else ""],
        ["my parcel", "delivery", "train" if ready else ""],
        ["hidden label", "", "test" if ready else ""],
    ]
    assert parts == ["train", "test"]


@pytest.mark.parametrize("source", ["org/messages", "org/messages@main", f"org/messages@{COMMIT}"])
def test_a_dataset_is_pinned_to_its_commit(endpoint: str, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    settings = sources.pinned(DataSettings(source=source))
    assert settings.source == f"org/messages@{COMMIT}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert sources.version(settings) == COMMIT


def test_an_unknown_revision_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    with pytest.raises(BadInput, match="'org/messages' has no revision 'none'; give a branch, tag or commit"):
        hub.read(DataSettings(source="org/messages@none"))


def test_an_unknown_dataset_is_named(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    with pytest.raises(BadInput, match="'org/none' is neither a file or folder here nor a Hugging Face dataset"):
        hub.read(DataSettings(source="org/none"))


def test_a_hub_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="'org/none' .* http://127.0.0.1:9 cannot be reached"):
        hub.read(DataSettings(source="org/none"))
