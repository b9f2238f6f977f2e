"""What Knative's queue-proxies counted and the model servers behind them never saw."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.rollout.kserve import pod_counters, queue_proxy
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.pod_counters import PodCounts
from slipway.components.rollout.target import Counts, histogram
from tests.components.rollout.test_kserve_pod_counters import counted, pod

QUEUE_PROXIES = {
    "up to 1.18": """
# TYPE revision_request_count counter
revision_request_count{response_code="200",response_code_class="2xx",revision_name="m-00002"} 40
revision_request_count{response_code="401",response_code_class="4xx",revision_name="m-00002"} 9
revision_request_count{response_code="502",response_code_class="5xx",revision_name="m-00002"} 4
revision_request_count{response_code="504",response_code_class="5xx",revision_name="m-00002"} 3
# TYPE revision_app_request_count counter
revision_app_request_count{response_code="502",response_code_class="5xx",revision_name="m-00002"} 4
""",
    "from 1.19 on": """
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{http_response_status_code="502",le="0.1"} 4
http_server_request_duration_seconds_bucket{http_response_status_code="502",le="+Inf"} 4
http_server_request_duration_seconds_sum{http_response_status_code="502"} 0.2
http_server_request_duration_seconds_count{http_response_status_code="502"} 4
http_server_request_duration_seconds_count{http_response_status_code="503"} 3
http_server_request_duration_seconds_count{http_response_status_code="200"} 40
# TYPE http_client_request_duration_seconds histogram
http_client_request_duration_seconds_count{http_response_status_code="502"} 4
""",
    "without metrics": "",
}
"""Pages of metrics of Knative's queue-proxy, by its version."""


@pytest.mark.parametrize("version", QUEUE_PROXIES)
def test_failures_of_a_queue_proxy_are_its_answers_with_5xx(version: str) -> None:
    found = queue_proxy.failures_of(text_string_to_metric_families(QUEUE_PROXIES[version]))
    assert found == (0 if version == "without metrics" else 7)


def test_queue_proxies_are_asked_at_their_port_where_there_are_such() -> None:
    asked: list[tuple[str, int]] = []

    def ask_pod(pod: Any, path: str, timeout_s: float, port: int) -> tuple[int, bytes]:
        assert path == "/metrics"
        assert timeout_s < 10
        asked.append((pod.metadata.name, port))
        return (200, QUEUE_PROXIES["up to 1.18"].encode()) if pod.metadata.name == "a" else (502, b"")

    api = cast(ServiceApi, SimpleNamespace(ask_pod=ask_pod))
    pods = [pod("a", "kserve-container", "queue-proxy"), pod("b", "queue-proxy"), pod("c", "kserve-container")]
    assert queue_proxy.read(api, pods) == {"a/queue-proxy": Counts(7, 7)}
    assert asked == [("a", 9091), ("b", 9091)]


def proxied(errors: int) -> dict[str, Counts]:
    return {"a/queue-proxy": Counts(errors, errors)}


def test_what_a_queue_proxy_failed_and_the_server_never_saw_counts_as_failed() -> None:
    counts = PodCounts()
    counts.begin("2", {})
    counts.take("2", {"a": counted(20, 2)} | proxied(9))
    assert (counts.total("2").requests, counts.total("2").errors) == (27, 9)
    gone = Counts(25, 2, histogram([5.0] * 23), abandoned=4)  # clients that went are 502 at the queue-proxy
    counts.take("2", {"a": gone} | proxied(13))
    assert (counts.total("2").requests, counts.total("2").errors) == (32, 9)
    counts.take("2", {"a": counted(3)} | proxied(20))  # the server has started again, the queue-proxy has not
    assert (counts.total("2").errors, counts.total("2").requests) == (16, 42)


def test_counts_of_queue_proxies_never_go_back_and_leave_out_what_was_before_the_rollout() -> None:
    counts = PodCounts()
    counts.begin("1", {"a": counted(100, 5)} | proxied(50), ["a", "b"])
    counts.take("1", {"a": counted(110, 5)} | proxied(53))
    assert counts.total("1").errors == 3
    counts.take("1", {"a": counted(112, 7)} | proxied(53))  # the server counted while the queue-proxy was read
    assert (counts.total("1").errors, counts.total("1").requests) == (5, 15)
    counts.take("1", {"b": counted(7), "b/queue-proxy": Counts(900, 900)})  # silent when the rollout began
    assert counts.total("1").errors == 5
    plain = json.loads(json.dumps(pod_counters.to_json(counts)))
    assert pod_counters.from_json(plain) == counts
