"""Settings of runs that use a cluster: what was left open is filled in, what pods cannot reach is told."""

from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.pipelines import cluster_settings
from slipway.pipelines.home import Places
from slipway.pipelines.settings import SlipwaySettings, load_settings

INSIDE = "http://mlflow.slipway.svc.cluster.local:5000"
FORWARDED = "http://127.0.0.1:5000"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KFP_NAMESPACE", raising=False)


def settings(*overrides: str) -> SlipwaySettings:
    return load_settings(None, overrides)


def from_here(*overrides: str) -> SlipwaySettings:
    resolved = Places.here().resolved(settings("target=kubernetes", *overrides))
    cluster_settings.check_from_here(resolved)
    return resolved


@pytest.mark.parametrize(
    ("given", "cluster_store", "registry_store"),
    [
        ("cluster.store=s3://b/p/", "s3://b/p", "s3://b/p/bundles"),
        ("registry.store=s3://b/models", "s3://b/models", "s3://b/models"),
    ],
)
def test_either_store_gives_the_place_of_the_other(given: str, cluster_store: str, registry_store: str) -> None:
    found = from_here(given, f"tracking_uri={FORWARDED}", f"cluster.tracking_uri={INSIDE}")
    assert found.cluster.store == cluster_store
    assert found.registry.store == registry_store


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "needs a store that pods reach"),
        (["registry.store=bundles"], "registry.store is bundles: pods reach it only as s3://"),
        (["cluster.store=s3://b"], "tracking_uri is empty"),
        (["cluster.store=s3://b", f"tracking_uri={FORWARDED}"], "which pods cannot reach; set cluster.tracking_uri"),
        (["cluster.store=s3://b", "tracking_uri=sqlite:///m.db"], "tracking_uri is sqlite:///m.db: pods log to"),
    ],
)
def test_what_pods_cannot_reach_is_told(overrides: list[str], words: str) -> None:
    with pytest.raises(BadInput) as told:
        from_here(*overrides)
    assert words in str(told.value)


def test_a_password_in_an_address_is_not_told() -> None:
    with pytest.raises(BadInput) as told:
        from_here("cluster.store=s3://b", "tracking_uri=postgres://user:pass-word@db/x")
    assert "pass-word" not in str(told.value)
    assert "MLFLOW_TRACKING_PASSWORD" in str(told.value)


def test_auto_is_this_machine_outside_of_a_cluster(tmp_path: Path) -> None:
    resolved = Places(tmp_path).resolved(settings())
    assert resolved.registry.store == str(tmp_path / "bundles")
    assert resolved.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"


def test_pods_get_addresses_and_keys_of_the_cluster_for_those_of_this_machine() -> None:
    here = settings(
        "cluster.store=s3://b",
        f"tracking_uri={FORWARDED}",
        f"cluster.tracking_uri={INSIDE}",
        "cluster.gateway=http://localhost:8080",
        "registry.encryption_key=my.key",
    )
    passed = cluster_settings.for_pods(here)
    assert passed.tracking_uri == INSIDE
    assert passed.cluster.tracking_uri == passed.cluster.gateway == ""
    assert passed.registry.keys == "job:slipway"
    assert passed.registry.encryption_key == "/etc/slipway/encryption/bundle.key"
    assert cluster_settings.for_pods(passed) == passed


def test_pods_use_the_store_of_the_manifests_unless_one_is_named() -> None:
    assert cluster_settings.for_pods(settings()).registry.store == "s3://slipway/bundles"
    assert cluster_settings.for_pods(settings("cluster.store=s3://b")).registry.store == "s3://b/bundles"


@pytest.mark.parametrize("given", ["''", FORWARDED, "sqlite:///mlflow.db"])
def test_pods_use_the_tracking_server_of_the_manifests_unless_another_is_named(given: str) -> None:
    here = settings("cluster.store=s3://b", f"tracking_uri={given}")
    assert cluster_settings.for_pods(here).tracking_uri == INSIDE
    other = settings("cluster.store=s3://b", "tracking_uri=https://mlflow.example.com")
    assert cluster_settings.for_pods(other).tracking_uri == "https://mlflow.example.com"


def test_every_encoder_of_the_candidates_is_looked_at() -> None:
    here = settings("select.candidates=[{encoder: mine}, {layers: 2}]")
    assert [name for name, _ in cluster_settings.encoders(here)] == ["select.candidates[0].encoder", "train.encoder"]
