"""What pods counted, and how a gateway splits: read from what clusters answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.errors import SlipwayError
from slipway.components.rollout.kserve import pod_counters, routing
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.pod_counters import PodCounts, PrometheusMetrics
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.target import Counts, Revision, histogram

OLD, NEW = (Revision(version, f"s3://models/{version}", f"sha256:{version:0>64}") for version in ("1", "2"))
LABELS = 'model_name="m",model_version="1",protocol="rest"'
PAGE = f"""
# TYPE slipway_requests_total counter
slipway_requests_total{{{LABELS},method="infer",code="200",source="client"}} 90
slipway_requests_total{{{LABELS},method="infer",code="400",source="client"}} 4
slipway_requests_total{{{LABELS},method="infer",code="500",source="client"}} 3
slipway_requests_total{{{LABELS},method="infer",code="503",source="client"}} 3
slipway_requests_total{{{LABELS},method="infer",code="500",source="comparison"}} 50
slipway_requests_total{{{LABELS},method="infer",code="499",source="client"}} 5
slipway_requests_total{{{LABELS},method="infer",code="401",source="stranger"}} 4900
slipway_requests_total{{{LABELS},method="infer",code="503",source="stranger"}} 80
slipway_requests_total{{{LABELS},method="metadata",code="200",source="client"}} 7
# TYPE slipway_request_duration_seconds histogram
slipway_request_duration_seconds_bucket{{{LABELS},method="infer",source="client",le="0.01"}} 60
slipway_request_duration_seconds_bucket{{{LABELS},method="infer",source="client",le="0.1"}} 90
slipway_request_duration_seconds_bucket{{{LABELS},method="infer",source="client",le="+Inf"}} 94
slipway_request_duration_seconds_bucket{{{LABELS},method="explain",source="client",le="0.01"}} 0
slipway_request_duration_seconds_bucket{{{LABELS},method="explain",source="client",le="0.1"}} 0
slipway_request_duration_seconds_bucket{{{LABELS},method="explain",source="client",le="+Inf"}} 40
slipway_request_duration_seconds_bucket{{{LABELS},method="infer",source="comparison",le="0.01"}} 50
slipway_request_duration_seconds_bucket{{{LABELS},method="infer",source="comparison",le="+Inf"}} 50
"""


def counted(requests: int, errors: int = 0) -> Counts:
    return Counts(requests, errors, histogram([5.0] * (requests - errors)))


def test_admitted_requests_of_clients_are_counted_with_their_errors_and_latencies() -> None:
    found = pod_counters.counts_of(text_string_to_metric_families(PAGE))
    assert (found.requests, found.errors, found.abandoned) == (96, 6, 5)
    assert found.latencies.bounds == (10.0, 100.0)
    assert found.latencies.counts == (60, 30, 4)


def test_a_server_that_nobody_asked_has_counted_nothing() -> None:
    assert pod_counters.counts_of([]) == Counts()


def test_a_restarted_pod_and_a_vanished_one_lose_nothing() -> None:
    counts = PodCounts()
    counts.take("1", {"a": counted(10), "b": counted(20, 1)})
    counts.take("1", {"a": counted(2), "b": counted(25, 1)})  # the container of a has started again
    counts.take("1", {"b": counted(30, 2)})  # a is gone
    assert (counts.total("1").requests, counts.total("1").errors) == (42, 2)


def test_what_was_counted_before_the_rollout_is_left_out() -> None:
    counts = PodCounts()
    counts.begin("1", {"a": counted(100, 5)})
    counts.take("1", {"a": counted(130, 6), "b": counted(4)})
    assert (counts.total("1").requests, counts.total("1").errors) == (34, 1)
    assert counts.total("1").latencies.total == 33  # noqa: PLR2004


def test_a_pod_that_was_silent_when_the_rollout_began_counts_from_its_first_answer_on() -> None:
    counts = PodCounts()
    counts.begin("1", {"a": counted(100)}, ["a", "b"])
    counts = pod_counters.from_json(json.loads(json.dumps(pod_counters.to_json(counts))))
    counts.take("1", {"a": counted(110)})
    counts.take("1", {"a": counted(110), "b": counted(10_000, 2_000)})
    assert (counts.total("1").requests, counts.total("1").errors) == (10, 0)
    counts.take("1", {"a": counted(110), "b": counted(10_005, 2_001), "new": counted(7)})
    assert (counts.total("1").requests, counts.total("1").errors) == (22, 1)


def test_counts_survive_as_json() -> None:
    counts = PodCounts()
    counts.begin("1", {"a": counted(3)})
    counts.take("1", {"a": counted(9, 1)})
    plain = json.loads(json.dumps(pod_counters.to_json(counts)))
    assert pod_counters.from_json(plain) == counts


def pod(name: str, *containers: str) -> Any:
    spec = SimpleNamespace(containers=[SimpleNamespace(name=container) for container in containers])
    return SimpleNamespace(metadata=SimpleNamespace(name=name), spec=spec)


@pytest.fixture
def prometheus() -> Iterator[tuple[str, list[str]]]:
    """The address of what answers as Prometheus' query endpoint does, and the queries that it got."""
    queries: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            (query,) = parse_qs(urlsplit(self.path).query)["query"]
            queries.append(query)
            labels = {"namespace": "models", "pod": "pod-1", "source": "client", "method": "infer"}
            result = [{"metric": labels | {"code": "500"}, "value": [0, "2"]}]
            if "bucket" in query:
                result = [{"metric": labels | {"le": le}, "value": [0, "3"]} for le in ("0.01", "+Inf")]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", queries
        server.shutdown()


def test_prometheus_is_asked_for_the_pods_of_a_revision(prometheus: tuple[str, list[str]]) -> None:
    url, queries = prometheus
    found = PrometheusMetrics(url, "models").read([pod("pod-1"), pod("pod-2")])
    assert set(found) == {"pod-1"}
    assert (found["pod-1"].requests, found["pod-1"].errors, found["pod-1"].latencies.counts) == (2, 2, (3, 0))
    assert all('namespace="models",pod=~"pod-1|pod-2"' in query and "timestamp" in query for query in queries)


def test_a_prometheus_that_is_away_is_named() -> None:
    with pytest.raises(SlipwayError, match="Prometheus at http://127.0.0.1:9 does not answer"):
        PrometheusMetrics("http://127.0.0.1:9", "models").read([pod("pod-1")])


class Cluster:
    """What the API server says of the routes."""

    name = "messages"

    def __init__(self, knative: Any = None, *routes: Any) -> None:
        self.knative, self.routes = knative, list(routes)

    def knative_service(self) -> Any:
        return self.knative

    def http_routes(self) -> Any:
        return self.routes


def service_api(knative: Any = None, *routes: Any) -> ServiceApi:
    """A `Cluster`, which is all of the API server that routing asks."""
    return cast(ServiceApi, Cluster(knative, *routes))


def knative(asked: int, routed: int, observed: int = 2) -> dict[str, Any]:
    """A Knative Service whose newest revision should get `asked` percent and gets `routed`."""
    spec = [{"latestRevision": True, "percent": asked}, {"revisionName": "r-1", "percent": 100 - asked}]
    status = [{"revisionName": "r-2", "percent": routed}, {"revisionName": "r-1", "percent": 100 - routed}]
    ready = [{"type": "RoutesReady", "status": "True"}]
    return {
        "metadata": {"generation": 2},
        "spec": {"traffic": spec},
        "status": {"observedGeneration": observed, "traffic": status, "conditions": ready},
    }


@pytest.mark.parametrize(
    ("service", "done"),
    [(knative(25, 25), True), (knative(10, 25), False), (knative(25, 10), False), (knative(25, 25, 1), False)],
    ids=["done", "not asked yet", "not routed yet", "not seen yet"],
)
def test_knative_has_split_when_it_was_asked_saw_it_and_did_it(service: Any, done: bool) -> None:
    assert routing.routed(service_api(service), "Knative", Record(OLD, NEW, 25), "r-2") is done


def http_route(observed: int = 3, taken: str = "True", **weights: int) -> dict[str, Any]:
    """An HTTPRoute of generation 3, and which generation its gateway has taken."""
    backends = [{"name": f"messages-{name}-predictor", "weight": weight} for name, weight in weights.items()]
    kinds = {"Accepted": "True", "ResolvedRefs": taken}
    conditions = [{"type": kind, "status": kinds[kind], "observedGeneration": observed} for kind in kinds]
    return {
        "metadata": {"generation": 3},
        "spec": {"rules": [{"backendRefs": backends}]},
        "status": {"parents": [{"conditions": conditions}]},
    }


SPLIT = Record(OLD, NEW, 25)


@pytest.mark.parametrize(
    ("asked", "route", "done"),
    [
        (SPLIT, http_route(v1=75, v2=25), True),
        (Record(OLD, NEW, 50), http_route(v1=75, v2=25), False),
        (Record(OLD, NEW, 0), http_route(v1=100, v2=0), True),
        (Record(OLD, NEW, 0), http_route(v1=1), True),
        (SPLIT, http_route(v1=1), False),
        (Record(NEW), http_route(v1=75, v2=25), False),
        (Record(NEW), http_route(v1=0, v2=100), False),
        (Record(NEW), http_route(v2=1), True),
        (Record(OLD), http_route(v2=1), False),
        (SPLIT, http_route(v1=75, v2=25, observed=2), False),
        (SPLIT, http_route(v1=75, v2=25, taken="False"), False),
    ],
)
def test_an_http_route_has_split_by_its_weights_once_its_gateway_follows(asked: Record, route: Any, done: bool) -> None:
    assert routing.routed(service_api(None, route), "Standard", asked, None) is done


def test_an_http_route_that_no_gateway_has_taken_leads_nowhere() -> None:
    route = http_route(v1=75, v2=25)
    assert not routing.followed(route | {"status": {"parents": []}})
    assert not routing.followed({key: value for key, value in route.items() if key != "status"})
    assert not routing.followed(route | {"status": {"parents": [{"conditions": []}]}})


def test_the_route_of_the_predictor_s_own_host_counts_too() -> None:
    both = service_api(None, http_route(v2=1), http_route(v1=75, v2=25))
    assert not routing.routed(both, "Standard", Record(NEW), None)


def test_a_kserve_without_weights_splits_nothing_and_sends_nothing_to_a_canary() -> None:
    cluster = service_api()
    assert not routing.splits(cluster)
    assert routing.routed(cluster, "Standard", Record(OLD, NEW, 0), None)
    assert not routing.routed(cluster, "Standard", Record(OLD, NEW, 10), None)
    assert not routing.splits(service_api(None, http_route(v1=1)))
    assert routing.splits(service_api(None, http_route(v1=100, v2=0)))
