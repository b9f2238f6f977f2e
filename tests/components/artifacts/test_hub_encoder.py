"""An encoder of a hub is looked up once: what its owner changes later is not what a run trains and names."""

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.components import hub_server

OLD, NEW = "a" * 40, "b" * 40
CODE = """
import json, sys, urllib.request
from slipway.components.artifacts import checkpoint, encoder, encoder_check

pinned = [encoder.pinned(name) for name in ("org/encoder", "org/encoder@v1", "minilm")]
urllib.request.urlopen(f"{sys.argv[1]}/move").read()  # the owner of the encoder puts another one in its place
folder = encoder.encoder_folder(pinned[0])
encoder_check.check_encoder(pinned[0])
tokenizer = checkpoint.load_tokenizer(folder)
model = checkpoint.new_classifier(folder, ["a", "b"])
print(json.dumps({
    "pinned": pinned, "identity": encoder.encoder_identity(pinned[0]), "layers": model.config.num_hidden_layers,
    "words": len(tokenizer), "now": encoder.pinned("org/encoder"),
}))
"""


class Hub(ThreadingHTTPServer):
    """A hub with one model in two commits; `main` is the old one until somebody asks for `/move`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        old = {path.name: path.read_bytes() for path in folder.iterdir()}
        new = old | {"config.json": json.dumps(json.loads(old["config.json"]) | {"num_hidden_layers": 1}).encode()}
        self.commits = {OLD: old, NEW: new}
        self.names = {"main": OLD, "v1": OLD}


class Handler(hub_server.HubHandler):
    """Just enough of the hub's API."""

    server: Hub

    def respond(self) -> None:
        parts = self.path.partition("?")[0].split("/")
        if parts[1] == "move":
            self.server.names["main"] = NEW
            self.answer(b"", OLD)
        elif parts[1:4] == ["org", "encoder", "resolve"]:
            commit = self.server.names.get(parts[4], parts[4])
            found = self.server.commits[commit].get("/".join(parts[5:]))
            self.answer(found or b"", commit, "" if found is not None else "EntryNotFound")
        elif parts[1:5] == ["api", "models", "org", "encoder"] and parts[5:6] in ([], ["revision"]):
            commit = self.server.names.get(parts[-1], parts[-1])
            self.answer(json.dumps({"id": "org/encoder", "sha": commit}).encode(), commit)
        else:
            self.answer(b"{}", OLD, "EntryNotFound")


@pytest.fixture
def endpoint(tiny_encoder: Path) -> Iterator[str]:
    """The address of the hub."""
    with hub_server.at_work(Hub(tiny_encoder)) as address:
        yield address


def test_a_run_goes_on_with_the_commit_that_its_beginning_found(endpoint: str, tmp_path: Path) -> None:
    done = hub_server.run(CODE, endpoint, tmp_path, endpoint)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["pinned"] == [f"org/encoder@{OLD}", f"org/encoder@{OLD}", "minilm"]
    assert told["identity"] == f"org/encoder@{OLD}"
    assert told["layers"] == 2
    assert told["words"] > 0
    assert told["now"] == f"org/encoder@{NEW}"
