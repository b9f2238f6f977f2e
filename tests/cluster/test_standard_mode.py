"""What a real KServe's webhook says to InferenceServices of Standard mode; nothing is made, so no image is used."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import manifest, sizes
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.target import Revision
from tests.cluster.access import Cluster

pytestmark = pytest.mark.cluster

OLD, NEW = (Revision(version, f"s3://models/{version}", f"sha256:{version:0>64}") for version in ("1", "2"))


@pytest.fixture(scope="module")
def asked(cluster: Cluster) -> Iterator[Callable[[dict[str, Any]], str]]:
    """What the API server says to an InferenceService, which it does not keep."""
    namespace = f"slipway-dry-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    flags = ("--server-side", "--force-conflicts", "--dry-run=server", "--namespace", namespace, "-f", "-")

    def ask(service: dict[str, Any]) -> str:
        service["metadata"]["namespace"] = namespace
        return str(cluster.kubectl("apply", *flags, given=json.dumps(service)))

    yield ask
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def canary(least: int, percent: int) -> dict[str, Any]:
    """An InferenceService with a canary."""
    settings = ClusterSettings(min_replicas=least, max_replicas=least)
    record = Record(OLD, NEW, percent, sizes.of_challenger(settings, percent))
    return manifest.service("messages", "models", record, "Standard", settings)


@pytest.mark.parametrize("least", [1, 2, 3])
@pytest.mark.parametrize("percent", [0, 10, 50, 100])
def test_the_sizes_of_both_sides_are_accepted(asked: Callable[..., str], least: int, percent: int) -> None:
    assert "serverside-applied" in asked(canary(least, percent))


@pytest.mark.parametrize(
    ("side", "field", "count", "words"),
    [
        ("canary", "minReplicas", 9, "must not exceed stable predictor minReplicas"),
        ("canary", "maxReplicas", 9, "must not set maxReplicas"),
        ("predictor", "maxReplicas", 1, "'MinReplicas' cannot be greater than MaxReplicas"),
    ],
)
def test_its_rules_are_those_that_the_sizes_keep(
    asked: Callable[..., str], side: str, field: str, count: int, words: str
) -> None:
    service = canary(3, 50)
    shown = service["spec"][side]
    (shown[0]["predictor"] if side == "canary" else shown)[field] = count
    with pytest.raises(AssertionError, match=words):
        asked(service)
