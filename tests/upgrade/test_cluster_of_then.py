"""InferenceServices of an earlier release: who serves, and where a rollout is."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout import state
from slipway.components.rollout.kserve import record
from slipway.components.rollout.kserve.manifest import Mode
from slipway.components.rollout.kserve.model import ClusterModel
from slipway.components.rollout.rollout_progress import progress_of
from tests.background import eventually
from tests.components.rollout.kserve_cluster import NAME, NAMESPACE, Cluster
from tests.components.rollout.kserve_http import serving
from tests.components.rollout.kserve_site import use
from tests.upgrade.conftest import THEN

SERVICES: dict[str, dict[str, dict[str, Any]]] = json.loads((THEN / "inferenceservices.json").read_text("utf-8"))


@pytest.mark.parametrize("mode", SERVICES)
def test_who_serves_and_who_is_rolled_out_is_read(mode: str) -> None:
    services = SERVICES[mode]
    assert record.read(services["serving"]["metadata"]["annotations"], 0).challenger is None
    found = record.read(services["rolling out"]["metadata"]["annotations"], 10)
    assert found.champion
    assert found.challenger
    assert (found.champion.version, found.challenger.version) == ("1", "2")
    assert found.state
    kept = state.from_json(found.state)
    assert (kept.phase, kept.revision, kept.champion) == ("traffic", found.challenger, found.champion)
    assert progress_of(kept).requests == kept.requests[0] > 0


def test_there_are_services_of_every_mode() -> None:
    assert set(SERVICES) == set(get_args(Mode))


def test_status_of_a_service_of_then(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    service = SERVICES["Standard"]["rolling out"]
    service["metadata"] |= {"name": NAME, "namespace": NAMESPACE}
    cluster.apply(service)
    eventually(cluster.settled)
    with serving(cluster) as (api, gateway):
        use(api, user / "kubeconfig", monkeypatch)
        settings = ClusterSettings(namespace=NAMESPACE, gateway=gateway, deployment_mode="Standard")
        registry = Registry(f"sqlite:///{user / 'home' / 'mlflow.db'}", NAME)
        found = ClusterModel(settings, registry).status()
    assert found.served
    assert found.champion
    assert found.challenger
    assert (found.champion.version, found.challenger.version, found.challenger.percent) == ("1", "2", 10)
    assert found.rollout
    assert found.rollout.phase == "traffic"
