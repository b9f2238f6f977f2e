"""Configures what Envoy counts about each revision, and reads these counts, for the local target's evidence.

Envoy's own statistics of a cluster mix the latencies of refused and of answered requests. So requests without a key,
which are refused quickly, would make any revision look fast. The access logger `stats` counts by cluster, route and
status instead, and takes the latencies of successes alone. Envoy does not declare this logger safe against untrusted
input in the names of statistics. Here the names come from our configuration and from our own servers' statuses only.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from slipway.components.clients.latency_histogram import LATENCY_BOUNDS_MS
from slipway.components.rollout.counter_resets import Ending, ending_of
from slipway.components.rollout.target import Counts, Histogram

Json = dict[str, Any]

PREFIX = "evidence"
"""Prefix of the names of all statistics that are configured here."""
PREDICTION = "prediction"
"""Name of the route whose requests are counted. Other requests (health, metadata) may use the same cluster."""
GRPC_FAILURES = frozenset({2, 4, 13, 14, 15})
"""gRPC codes that count as failures of the server: unknown, deadline exceeded, internal, unavailable, data loss."""
GRPC_OK, GRPC_CANCELLED = 0, 1
_STATUS = re.compile(r"(?P<code>\d+)\.grpc\.(?P<grpc>\d*)")
_TAGS = {"cluster": "%UPSTREAM_CLUSTER%", "route": "%ROUTE_NAME%"}
_STATUS_TAGS = {"code": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS_NUMBER%"}
_TIME = "%COMMON_DURATION(DS_RX_END:US_RX_END:ms)%"
"""Time from the end of the request to the end of the response, so that a client's slow upload does not count."""


def buckets() -> Json:
    """The bounds of the latency histogram's buckets, for the bootstrap."""
    return {"match": {"prefix": f"{PREFIX}.ms"}, "buckets": list(LATENCY_BOUNDS_MS)}


def access_log(kind: str) -> list[Json]:
    """The access logs of a listener (`rest` or `grpc`): a counter of all statuses, and the latencies of successes."""
    requests = {"stat": _stat("requests", _TAGS | _STATUS_TAGS), "value_fixed": 1}
    times = {"stat": _stat("ms", _TAGS), "unit": "Milliseconds", "value_format": _TIME}
    success = {"grpc_status_filter": {"statuses": ["OK"]}} if kind == "grpc" else _between(200, 299)
    return [_log({"counters": [requests]}), {**_log({"histograms": [times]}), "filter": success}]


def _stat(name: str, tags: dict[str, str]) -> Json:
    return {"name": name, "tags": [{"name": tag, "value_format": value} for tag, value in tags.items()]}


def _log(counted: Json) -> Json:
    kind = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
    config = {"@type": kind, "stats_scope": {"prefix": PREFIX}, **counted}
    return {"name": "envoy.access_loggers.stats", "typed_config": config}


def _between(low: int, high: int) -> Json:
    """A filter of statuses. Envoy requires a runtime key for each bound, which would allow changes; it is not used."""
    ends = (("GE", low), ("LE", high))
    bounds = [{"op": op, "value": {"default_value": value, "runtime_key": f"{PREFIX}.{op}"}} for op, value in ends]
    return {"and_filter": {"filters": [{"status_code_filter": {"comparison": bound}} for bound in bounds]}}


def counts_of(statistics: dict[str, Any], clusters: Sequence[str]) -> Counts:
    """The counts of one revision.

    Args:
        statistics: Envoy's statistics by name; a histogram is the list of its buckets' counts.
        clusters: the revision's clusters of predictions.
    """
    endings: dict[Ending, int] = defaultdict(int)
    for cluster in clusters:
        prefix = f"{PREFIX}.requests.cluster.{cluster}.route.{PREDICTION}.code."
        for name, value in statistics.items():
            if name.startswith(prefix) and (status := _STATUS.fullmatch(name[len(prefix) :])):
                endings[_ending(int(status["code"]), status["grpc"])] += value
    times = [statistics.get(f"{PREFIX}.ms.cluster.{cluster}.route.{PREDICTION}") for cluster in clusters]
    failed = endings[Ending.FAILED]
    return Counts(endings[Ending.ANSWERED] + failed, failed, _histogram(times), endings[Ending.ABANDONED])


def _ending(code: int, grpc: str) -> Ending:
    """The ending that a response means. A gRPC code, where there is one, decides: failed calls have the status 200."""
    if not grpc:
        return ending_of(code)
    number = int(grpc)
    if number in (GRPC_OK, GRPC_CANCELLED):
        return Ending.ABANDONED if number else Ending.ANSWERED
    return Ending.FAILED if number in GRPC_FAILURES else Ending.REFUSED


def _histogram(parts: Sequence[list[int] | None]) -> Histogram:
    """The sum of several histograms; the last of Envoy's buckets holds all values above the last bound."""
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for part in parts:
        for index, count in enumerate(part or ()):
            counts[min(index, len(counts) - 1)] += count
    return Histogram(counts=tuple(counts))
