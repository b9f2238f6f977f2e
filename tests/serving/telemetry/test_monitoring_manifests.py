"""The dashboard and the alerts ask for metrics and labels that a real server has, in the language of Prometheus."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from slipway.serving.telemetry.metrics import REGISTRY
from tests.serving.conftest import Server

MONITORING = Path(__file__).parents[3] / "manifests" / "monitoring"
OF_THE_TARGET = {"namespace", "pod", "le"}
"""Labels that Prometheus adds to each sample, and that of a histogram's buckets."""
SUFFIX = re.compile(r"_(total|bucket|sum|count)$")


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MONITORING / "model-servers.json").read_text("utf-8"))
    return content


def rules() -> list[dict[str, Any]]:
    content = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))
    return [rule for group in content["spec"]["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m") for query in shown] + [rule["expr"] for rule in rules()]


def selectors(node: Any) -> Iterator[Any]:
    """The parts of a query that name a metric."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    children = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "param", "vector_selector", "vs")]
    for child in (*children, *(getattr(node, "args", None) or ())):
        if child is not None and not isinstance(child, str):
            yield from selectors(child)


def labels_of(name: str) -> set[str]:
    """Of a metric, as the code declares it."""
    for collector in REGISTRY._collector_to_names:
        if name in REGISTRY._collector_to_names[collector]:
            return set(getattr(collector, "_labelnames", ()))
    return set()  # of the process, without labels


@pytest.mark.parametrize("query", queries())
def test_a_query_names_what_a_server_exposes(server: Server, query: str) -> None:
    page = httpx.get(f"{server.url}/metrics").text
    exposed = {family.name for family in text_string_to_metric_families(page)}
    named = list(selectors(promql_parser.parse(query)))
    assert named
    for selector in named:
        assert {selector.name, SUFFIX.sub("", selector.name)} & exposed, selector.name
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels_of(selector.name) | OF_THE_TARGET
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= set().union(*(labels_of(selector.name) for selector in named)) | OF_THE_TARGET


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in rules():
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_panels_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["title"] for panel in panels}) == len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_renders_the_folder() -> None:
    done = subprocess.run(["kubectl", "kustomize", MONITORING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = {item["kind"]: item for item in yaml.safe_load_all(done.stdout)}
    assert set(objects) == {"ConfigMap", "PodMonitor", "PrometheusRule"}
    assert {item["metadata"]["namespace"] for item in objects.values()} == {"slipway"}
    config = objects["ConfigMap"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"]["model-servers.json"]) == dashboard()
