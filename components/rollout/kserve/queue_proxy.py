"""Reads what Knative's queue-proxy counted of a pod: failures that the model server behind it never saw.

A request that the server resets, hangs on or is not there for ends at the queue-proxy, with 502, 503 or 504. The server
counts no such request. A queue-proxy counts every answer that it gave, those of the server too, so what it counts
beyond the server's own failures is what the server missed. A client that goes first is a failure for the queue-proxy
(502), so the server's abandoned requests are subtracted as well.

Knative up to 1.18 counts `revision_request_count`. Later ones have the histogram of OpenTelemetry's conventions for
HTTP servers, `http_server_request_duration_seconds`, where `request-metrics-protocol` is `prometheus`. A pod without a
queue-proxy, and a queue-proxy that shows no metrics, adds nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.target import Counts

CONTAINER, PORT = "queue-proxy", 9091
REQUESTS = {
    "revision_request_count": "response_code",
    "revision_request_count_total": "response_code",
    "http_server_request_duration_seconds_count": "http_response_status_code",
}
"""Name of a sample, and its label of the status."""
SUFFIX = "/queue-proxy"
"""Of a pod's name, for the counts of its queue-proxy. No pod has a slash in its name."""


def failures_of(families: Iterable[Metric]) -> int:
    """The requests that a queue-proxy answered with 5xx."""
    return sum(
        int(sample.value)
        for family in families
        for sample in family.samples
        if sample.labels.get(REQUESTS.get(sample.name, ""), "").startswith("5")
    )


def read(api: ServiceApi, pods: Sequence[Any]) -> dict[str, Counts]:
    """The failures that queue-proxies counted, by the pod's name with `SUFFIX`; without an answer, none is there."""
    found = {}
    for pod in pods:
        if not any(container.name == CONTAINER for container in (pod.spec.containers if pod.spec else ())):
            continue
        status, body = api.ask_pod(pod, "/metrics", timeout_s=5.0, port=PORT)
        if status == httpx.codes.OK:
            failed = failures_of(text_string_to_metric_families(body.decode()))
            found[f"{pod.metadata.name}{SUFFIX}"] = Counts(failed, failed)
    return found
