"""What Envoy counts about each revision, and how it is read: the admitted predictions, not those that were refused.

Envoy's own statistics of a cluster do not tell the time of a refusal from that of an answer, so a stranger's 401s would
make any revision look quick. An access log that counts does: by cluster, route and status, with the times of successes
alone. Its authors call it not hardened against those who choose the names of what is counted; here names come from
our configuration, and from the statuses that our own servers answer with.
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
"""Of the names of all that is counted here."""
PREDICTION = "prediction"
"""Name of the route that is counted; all else (health, metadata) may go to the same cluster."""
GRPC_FAILURES = frozenset({2, 4, 13, 14, 15})
"""gRPC codes that are the server's fault: unknown, deadline exceeded, internal, unavailable, data loss."""
GRPC_OK, GRPC_CANCELLED = 0, 1
_STATUS = re.compile(r"(?P<code>\d+)\.grpc\.(?P<grpc>\d*)")
_TAGS = {"cluster": "%UPSTREAM_CLUSTER%", "route": "%ROUTE_NAME%"}
_STATUS_TAGS = {"code": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS_NUMBER%"}
_TIME = "%COMMON_DURATION(DS_RX_END:US_RX_END:ms)%"
"""From the end of the request to the end of the answer, so that a client's slow upload is not the revision's time."""


def buckets() -> Json:
    """The bounds of the latencies' buckets."""
    return {"match": {"prefix": f"{PREFIX}.ms"}, "buckets": list(LATENCY_BOUNDS_MS)}


def access_log(kind: str) -> list[Json]:
    """The logs of a listener (`rest` or `grpc`): a counter of all endings, and the times of successes."""
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
    """Envoy asks for names by which bounds could be changed while it runs; nobody does."""
    ends = (("GE", low), ("LE", high))
    bounds = [{"op": op, "value": {"default_value": value, "runtime_key": f"{PREFIX}.{op}"}} for op, value in ends]
    return {"and_filter": {"filters": [{"status_code_filter": {"comparison": bound}} for bound in bounds]}}


def counts_of(found: dict[str, Any], clusters: Sequence[str]) -> Counts:
    """What the predictions' clusters of one revision did; `found` are Envoy's statistics by name."""
    endings: dict[Ending, int] = defaultdict(int)
    for cluster in clusters:
        prefix = f"{PREFIX}.requests.cluster.{cluster}.route.{PREDICTION}.code."
        for name, value in found.items():
            if name.startswith(prefix) and (status := _STATUS.fullmatch(name[len(prefix) :])):
                endings[_ending(int(status["code"]), status["grpc"])] += value
    times = [found.get(f"{PREFIX}.ms.cluster.{cluster}.route.{PREDICTION}") for cluster in clusters]
    failed = endings[Ending.FAILED]
    return Counts(endings[Ending.ANSWERED] + failed, failed, _histogram(times), endings[Ending.ABANDONED])


def _ending(code: int, grpc: str) -> Ending:
    """Of a response: its HTTP status, and gRPC's code where there is one, since failed calls have the status 200."""
    if not grpc:
        return ending_of(code)
    number = int(grpc)
    if number in (GRPC_OK, GRPC_CANCELLED):
        return Ending.ABANDONED if number else Ending.ANSWERED
    return Ending.FAILED if number in GRPC_FAILURES else Ending.REFUSED


def _histogram(parts: Sequence[list[int] | None]) -> Histogram:
    """One histogram of several; Envoy's list of buckets ends with that of all above the last bound."""
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for part in parts:
        for index, count in enumerate(part or ()):
            counts[min(index, len(counts) - 1)] += count
    return Histogram(counts=tuple(counts))
