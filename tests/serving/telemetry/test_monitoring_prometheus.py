"""What a real Prometheus makes of a model server's metrics, and of the alert rules."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.rollout.kserve.pod_counters import PrometheusMetrics, counts_of
from slipway.components.rollout.target import Counts
from tests import prometheus
from tests.serving.conftest import Server

pytestmark = prometheus.needed
ALERTS = Path(__file__).parents[3] / "manifests" / "monitoring" / "alerts.yaml"
POD: Any = SimpleNamespace(metadata=SimpleNamespace(name="pod-1"))
MODEL = 'namespace="models",model_name="m",model_version="1"'
REQUESTS = f'slipway_requests_total{{{MODEL},pod="pod-1",protocol="rest",method="infer",source="client"'
DRIFT = f'{MODEL},feature="text_length"'


def seconds(le: str) -> str:
    return f'slipway_request_duration_seconds_bucket{{{MODEL},method="infer",source="client",le="{le}"}}'


def test_a_rollout_reads_from_prometheus_what_the_server_counted(server: Server, tmp_path: Path) -> None:
    address = server.url.removeprefix("http://")
    static = {"targets": [address], "labels": {"namespace": "models", "pod": "pod-1"}}
    with prometheus.running(tmp_path, {"job_name": "servers", "static_configs": [static]}) as url:
        server.infer("my parcel is late", "my card was charged")
        server.infer(5)  # refused: no evidence
        said = counts_of(text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text))
        assert said.requests > 1

        found: dict[str, Counts] = {}

        def is_the_same() -> bool:
            found.update(PrometheusMetrics(url, "models").read([POD]))
            return found == {"pod-1": said}

        prometheus.wait_for(is_the_same)
        assert PrometheusMetrics(url, "elsewhere").read([POD]) == {}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules of the manifest as a file of Prometheus."""
    path = tmp_path_factory.mktemp("rules") / "rules.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(ALERTS.read_text("utf-8"))["spec"]), "utf-8")
    return path


CASES = {
    "SlipwayErrors": ({f'{REQUESTS},code="200"}}': "0+95x60", f'{REQUESTS},code="500"}}': "0+5x60"}, "10m"),
    "SlipwaySlow": ({seconds("0.5"): "0+90x60", seconds("2"): "0+100x60", seconds("+Inf"): "0+100x60"}, "20m"),
    "SlipwayOverloaded": ({f'{REQUESTS},code="200"}}': "0+90x60", f'{REQUESTS},code="429"}}': "0+10x60"}, "15m"),
    "SlipwayNotReady": ({f"slipway_model_ready{{{MODEL}}}": "0x60"}, "6m"),
    "SlipwayNoServer": ({}, "11m"),
    "SlipwayDrift": (
        {f"slipway_drift_index{{{DRIFT}}}": "0.4x60", f"slipway_drift_index_by_chance{{{DRIFT}}}": "0.1x60"},
        "40m",
    ),
    "SlipwayAuditFailing": ({'slipway_audit_lost_total{namespace="models",pod="pod-1"}': "0+1x60"}, "5m"),
}
"""Of each alert: the samples of 60 minutes, one a minute, and when it fires."""

HEALTHY = {
    f"slipway_model_ready{{{MODEL}}}": "1x60",
    f'{REQUESTS},code="200"}}': "0+1000x60",
    f'{REQUESTS},code="500"}}': "0+1x60",
    f'{REQUESTS},code="429"}}': "0+1x60",
    seconds("0.1"): "0+999x60",
    seconds("0.5"): "0+1000x60",
    seconds("+Inf"): "0+1000x60",
    f"slipway_drift_index{{{DRIFT}}}": "0.3x60",
    f"slipway_drift_index_by_chance{{{DRIFT}}}": "0.35x60",
    'slipway_audit_lost_total{namespace="models",pod="pod-1"}': "0x60",
}


def firing(rules: Path, alert: str, series: dict[str, str], at: str) -> list[str]:
    """What promtool says against the claim that an alert does not fire."""
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at, "alertname": alert, "exp_alerts": []}],
    }
    path = rules.with_name(f"{alert}.yml")
    path.write_text(yaml.safe_dump({"rule_files": [rules.name], "evaluation_interval": "1m", "tests": [test]}), "utf-8")
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()


def test_prometheus_takes_the_rules_and_each_alert_has_a_case(rules: Path) -> None:
    subprocess.run(["promtool", "check", "rules", rules], check=True, capture_output=True)
    groups = yaml.safe_load(rules.read_text("utf-8"))["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(CASES)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_for_its_cause_and_not_while_all_is_well(rules: Path, alert: str) -> None:
    series, at = CASES[alert]
    assert f'alertname="{alert}"' in "".join(firing(rules, alert, series, at))
    for when in ("15m", "59m"):
        assert firing(rules, alert, HEALTHY, when) == []
