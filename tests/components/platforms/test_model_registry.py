"""The registry: a real MLflow registry in SQLite, and once over HTTP."""

import hashlib
import logging
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import request
from mlflow import MlflowClient
from mlflow.server import app
from mlflow.server.constants import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
from werkzeug.serving import make_server

from slipway.components.errors import BadInput
from slipway.components.platforms.model_registry import Registry
from slipway.components.train.tracking import Tracker

WRITES = ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag")


class Killed(Exception):
    pass


class DyingClient:
    """An MLflow client whose process dies before its write number `writes`."""

    def __init__(self, client: Any, writes: int) -> None:
        self.client, self.left = client, writes

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            if not self.left:
                raise Killed
            self.left -= 1
        return getattr(self.client, name)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow needs two seconds to make its tables, so the tests copy them."""
    folder = tmp_path_factory.mktemp("registry") / "not" / "yet"
    Registry(f"sqlite:///{folder}/mlflow.db", "topics")
    return folder / "mlflow.db"


@pytest.fixture
def registry(empty_database: Path, tmp_path: Path) -> Registry:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Registry(f"sqlite:///{tmp_path}/mlflow.db", "topics")


def digest_of(name: str) -> str:
    """A digest for each name."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def add(registry: Registry, name: str) -> str:
    return registry.register(f"/bundles/{name}", digest_of(name), {"draft_digest": name}).version


def aliases(registry: Registry) -> dict[str, str]:
    holders = {
        "champion": registry.champion(),
        "challenger": registry.challenger(),
        "previous": registry.previous(),
    }
    return {alias: version.version for alias, version in holders.items() if version}


def test_an_unknown_model_has_no_versions(registry: Registry) -> None:
    assert aliases(registry) == {}
    assert registry.find("draft_digest", "a") is None


def test_a_registered_version_is_the_challenger_and_keeps_its_tags(registry: Registry) -> None:
    registry.register("/bundles/a", digest_of("a"), {"dataset_digest": "sha256:d", "empty": ""})
    version = registry.challenger()
    assert version is not None
    assert (version.version, version.bundle_uri, version.digest) == ("1", "/bundles/a", digest_of("a"))
    assert version.tags == {
        "dataset_digest": "sha256:d",
        "empty": "",
        "bundle_uri": "/bundles/a",
        "digest": digest_of("a"),
    }
    assert registry.version("1") == version


def test_the_newest_version_with_a_tag_is_found(registry: Registry) -> None:
    for name in ("a", "b", "a"):
        add(registry, name)
    found = registry.find("draft_digest", "a")
    assert found is not None
    assert found.version == "3"
    assert registry.find("draft_digest", "other") is None


def test_versions_that_were_promoted_once_are_found_also_after_their_time(registry: Registry) -> None:
    assert registry.promoted() == []
    for name in ("a", "b", "c", "d"):
        add(registry, name)
    for version in ("1", "3"):
        registry.promote(version)
    registry.reject("2", "slow")
    assert {found.version for found in registry.promoted()} == {"1", "3"}


def test_models_with_other_names_are_not_mixed_up(registry: Registry, tmp_path: Path) -> None:
    add(registry, "a")
    other = Registry(f"sqlite:///{tmp_path}/mlflow.db", "other")
    assert other.find("draft_digest", "a") is None
    assert aliases(other) == {}


def test_the_first_promotion_leaves_no_previous(registry: Registry) -> None:
    registry.promote(add(registry, "a"))
    assert aliases(registry) == {"champion": "1"}
    assert registry.version("1").tags["outcome"] == "promoted"


def test_a_promotion_keeps_the_former_champion_as_previous(registry: Registry) -> None:
    for name in ("a", "b", "c"):
        registry.promote(add(registry, name))
    assert aliases(registry) == {"champion": "3", "previous": "2"}


def test_going_back_swaps_champion_and_previous(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.promote(add(registry, name))
    previous = registry.previous()
    assert previous is not None
    registry.promote(previous)
    assert aliases(registry) == {"champion": "1", "previous": "2"}


def test_promoting_again_changes_nothing(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.promote(add(registry, name))
    registry.promote("2")
    assert aliases(registry) == {"champion": "2", "previous": "1"}


def test_promoting_leaves_another_challenger_alone(registry: Registry) -> None:
    for name in ("a", "b"):
        add(registry, name)
    registry.promote("1")
    assert aliases(registry) == {"champion": "1", "challenger": "2"}


@pytest.mark.parametrize("goal", ["3", "1"], ids=["promote", "go back"])
def test_a_promotion_cut_short_anywhere_is_completed_by_the_next(registry: Registry, goal: str) -> None:
    for name in ("a", "b"):
        registry.promote(add(registry, name))
    add(registry, "c")
    challenger = {} if goal == "3" else {"challenger": "3"}
    client = registry._client
    for writes in range(1 + len(WRITES) + 2):
        registry._client = DyingClient(client, writes)  # type: ignore[assignment]
        try:
            registry.promote(goal)
        except Killed:
            registry._client = client
            now = aliases(registry)
            assert now["champion"] in {"2", goal}
            assert now["previous"] != now["champion"] or now["champion"] == goal
        registry._client = client
    assert aliases(registry) == {"champion": goal, "previous": "2"} | challenger


def test_a_rejected_version_is_no_challenger_and_says_why(registry: Registry) -> None:
    registry.promote(add(registry, "a"))
    add(registry, "b")
    for _ in range(2):
        registry.reject("2", "it failed 9 of 30 requests")
    assert aliases(registry) == {"champion": "1"}
    tags = registry.version("2").tags
    assert (tags["outcome"], tags["reason"]) == ("rejected", "it failed 9 of 30 requests")


def test_the_champion_cannot_be_rejected(registry: Registry) -> None:
    registry.promote(add(registry, "a"))
    with pytest.raises(BadInput, match="version 1 of topics is the champion"):
        registry.reject("1", "no")
    assert aliases(registry) == {"champion": "1"}


def test_a_rejected_version_can_be_nominated_again(registry: Registry) -> None:
    add(registry, "a")
    registry.reject("1", "no")
    registry.nominate("1")
    assert aliases(registry) == {"challenger": "1"}
    assert "outcome" not in registry.version("1").tags


def test_the_champion_is_not_nominated(registry: Registry) -> None:
    registry.promote(add(registry, "a"))
    registry.nominate("1")
    assert aliases(registry) == {"champion": "1"}


def test_an_unknown_version_is_named(registry: Registry) -> None:
    add(registry, "a")
    for call in (registry.version, registry.promote, registry.nominate, lambda number: registry.reject(number, "")):
        with pytest.raises(BadInput, match="no version '7' of model 'topics'"):
            call("7")


def test_a_version_that_someone_else_registered_is_named(registry: Registry, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model("topics")
    client.create_model_version("topics", "s3://models/theirs")
    client.set_registered_model_alias("topics", "champion", "1")
    with pytest.raises(BadInput, match="version 1 of topics has no tags bundle_uri and digest"):
        registry.champion()


@pytest.mark.parametrize("name", ["", "a/b", "a'b", "../a", "a b"])
def test_a_model_name_that_fits_no_path_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="model name"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db", name)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    with pytest.raises(BadInput, match=r"mlflow\.db cannot be used"):
        Registry(f"sqlite:///{tmp_path}/mlflow.db", "topics").champion()


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://someone:secret@127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BadInput, match="cannot be used") as caught:
        Registry(uri, "topics").champion()
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real MLflow server, in a thread: as a process of its own it needs half a minute to start.

    There is one only, since MLflow keeps the first database that a process opened.
    """
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    listening = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=listening.serve_forever)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{folder}/mlflow.db")
        environment.setenv(ARTIFACT_ROOT_ENV_VAR, str(folder / "artifacts"))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
    thread.join()
    listening.server_close()


def test_what_the_environment_says_of_another_server_is_not_shown_to_ours(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    foreign = {
        "MLFLOW_TRACKING_URI": "http://mlflow.elsewhere.svc:5000",
        "MLFLOW_RUN_ID": "0123456789abcdef0123456789abcdef",
        "MLFLOW_EXPERIMENT_ID": "77",
        "MLFLOW_WORKSPACE": "somebody-s",
        "MLFLOW_TRACKING_AUTH": "kubernetes",
        "MLFLOW_TRACKING_TOKEN": "not-for-others",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    seen: list[str] = []
    present = app.before_request_funcs.get(None, [])
    monkeypatch.setitem(app.before_request_funcs, None, [*present, lambda: seen.append(str(request.headers))])
    registry = Registry(server, "elsewhere")
    registry.register("s3://bundles/elsewhere/b", digest_of("b"), {})
    challenger = registry.challenger()
    tracker = Tracker(server, "tests", "train", tmp_path, "sha256:1")
    tracker.log_metrics({"train_loss": 1.0}, 1)
    tracker.finish("FINISHED")
    assert challenger is not None
    assert MlflowClient(server).get_run(tracker.run_id).info.status == "FINISHED"
    assert len(seen) >= 5
    assert [headers for headers in seen if "not-for-others" in headers or "somebody-s" in headers] == []


def test_a_server_keeps_versions_in_folders_and_object_stores(server: str) -> None:
    registry = Registry(server, "topics")
    assert aliases(registry) == {}
    add(registry, "a")
    registry.promote("1")
    registry.register("s3://bundles/topics/b", digest_of("b"), {"draft_digest": "b"})
    registry.promote("2")
    assert aliases(registry) == {"champion": "2", "previous": "1"}
    assert registry.version("1").bundle_uri == "/bundles/a"
    found = registry.find("draft_digest", "b")
    assert found is not None
    assert found.bundle_uri == "s3://bundles/topics/b"
    with pytest.raises(BadInput, match="no version '7'"):
        registry.version("7")


def test_the_registry_is_where_the_tracking_server_is_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    Registry(f"sqlite:///{tmp_path / 'own.db'}", "messages").register("/bundles/one", digest_of("one"), {})
    assert (tmp_path / "own.db").exists()
    assert not (tmp_path / "elsewhere.db").exists()


@pytest.mark.parametrize(("tag", "value"), [("digest", "sha256:../../elsewhere"), ("bundle_uri", "s3://bucket/../all")])
def test_a_tag_that_somebody_altered_is_refused_and_named(registry: Registry, tag: str, value: str) -> None:
    number = add(registry, "a")
    registry._client.set_model_version_tag("topics", number, tag, value)
    with pytest.raises(BadInput, match=f"the tag {tag} of version 1 of topics in the registry is "):
        registry.champion() or registry.challenger()
