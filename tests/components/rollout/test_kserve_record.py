"""What an InferenceService remembers, and the object that says it; the cluster's part is in tests/cluster."""

import secrets
from typing import Any

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import manifest, record
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.target import Revision
from tests.components.rollout.kserve_cluster import digest_for

OLD, NEW = (Revision(version, f"s3://models/{version}", digest_for(version)) for version in ("1", "2"))
SETTINGS = ClusterSettings(namespace="models", min_replicas=2, max_replicas=4)


def service(of: Record, mode: manifest.Mode = "Knative") -> dict[str, Any]:
    return manifest.service("messages", "models", of, mode, SETTINGS)


@pytest.mark.parametrize(
    "kept",
    [
        Record(),
        Record(champion=OLD),
        Record(OLD, NEW, 25, state={"phase": "traffic"}, counts={"before": {}}),
        Record(OLD, restoring=True),
        Record(OLD, NEW, 50, replicas=2),
    ],
    ids=["nothing", "serving", "rolling out", "restoring", "grown"],
)
def test_a_record_survives_in_annotations(kept: Record) -> None:
    assert record.read(record.annotations(kept), kept.percent, kept.replicas) == kept


def test_a_damaged_state_is_named() -> None:
    with pytest.raises(BadInput, match="slipway.dev/rollout is damaged"):
        record.read({record.ROLLOUT: "bm90IGd6aXA="}, 0)


def test_a_long_timeline_is_thinned_out_until_kubernetes_takes_it() -> None:
    timeline = [{"seconds": number, "noise": secrets.token_hex(200)} for number in range(2000)]
    found = record.annotations(Record(OLD, NEW, state={"timeline": timeline, "phase": "traffic"}))
    kept = record.read(found, 0).state
    assert len(found[record.ROLLOUT]) <= record.LIMIT
    assert kept
    assert kept["phase"] == "traffic"
    assert (kept["timeline"][0], kept["timeline"][-1]) == (timeline[0], timeline[-1])


def test_every_annotation_that_changes_has_a_constant_twin_in_the_pod_template() -> None:
    """KServe copies annotations of the service to the template unless the predictor has its own."""
    busy = service(Record(OLD, NEW, 10, state={"phase": "traffic"}, restoring=True))
    ours = {key for key in busy["metadata"]["annotations"] if key.startswith(record.PREFIX)}
    assert ours == set(record.KEYS) - {record.HOLDER}  # which comes with the change
    assert set(record.KEYS) <= set(busy["spec"]["predictor"]["annotations"])
    later = service(Record(OLD, NEW, 50, state={"phase": "traffic", "step": 2}))
    assert later["spec"]["predictor"]["annotations"] == busy["spec"]["predictor"]["annotations"]


def test_knative_mode_shows_the_challenger_with_its_share() -> None:
    predictor = service(Record(OLD, NEW, 10))["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == NEW.bundle
    assert predictor["model"]["args"] == ["--model_version=2", f"--model_digest={NEW.digest}"]
    assert predictor["canaryTrafficPercent"] == 10  # noqa: PLR2004
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 4)


def test_knative_mode_has_no_share_when_nothing_is_rolled_out() -> None:
    for settled in (Record(OLD), Record(challenger=NEW)):
        assert "canaryTrafficPercent" not in service(settled)["spec"]["predictor"]


def test_knative_mode_goes_back_to_the_champion_without_traffic_to_the_new_pods() -> None:
    predictor = service(Record(OLD, restoring=True))["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == OLD.bundle
    assert predictor["canaryTrafficPercent"] == 0


def test_standard_mode_has_the_challenger_as_a_canary() -> None:
    spec = service(Record(OLD, NEW, 10), "Standard")["spec"]
    assert (spec["predictor"]["name"], spec["predictor"]["model"]["storageUri"]) == ("v1", OLD.bundle)
    (canary,) = spec["canary"]
    assert canary["trafficPercent"] == 10  # noqa: PLR2004
    assert (canary["predictor"]["name"], canary["predictor"]["model"]["storageUri"]) == ("v2", NEW.bundle)
    assert "maxReplicas" not in canary["predictor"]  # KServe refuses it
    assert (canary["predictor"]["minReplicas"], spec["predictor"]["minReplicas"]) == (1, 3)


def test_standard_mode_promotes_by_the_canary_s_name() -> None:
    spec = service(Record(NEW), "Standard")["spec"]
    assert spec["predictor"]["name"] == "v2"
    assert "canary" not in spec
