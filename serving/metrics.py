"""Prometheus metrics of one model server: what `GET /metrics` shows.

One process serves one bundle, so every sample carries the name and version of that model, whatever name a request
asked for: a client can neither invent label values nor hide refused requests from the model's counts. Identities and
texts are no labels. With PROMETHEUS_MULTIPROC_DIR set, the processes that share that folder answer for each other.
"""

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    exposition,
)
from prometheus_client.multiprocess import MultiProcessCollector

from components.rollout.target import LATENCY_BOUNDS_MS

REGISTRY = CollectorRegistry()
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
LONGEST_MS = 30_000
SECONDS = tuple(round(bound / 1000, 6) for bound in LATENCY_BOUNDS_MS if bound <= LONGEST_MS)
"""Upper bounds of the latency buckets: those of a rollout's histograms, so that its counts need no conversion."""
MODEL = ("model_name", "model_version")

REQUESTS = Counter(
    "slipway_requests_total",
    "Requests that were answered or given up, by HTTP status (gRPC codes as their HTTP counterparts, 499: abandoned)",
    (*MODEL, "protocol", "method", "code", "source"),
    registry=REGISTRY,
)
DURATION = Histogram(
    "slipway_request_duration_seconds",
    "From the head of an inference or explanation request to the head of its answer; answers with 5xx left out",
    (*MODEL, "protocol", "method", "source"),
    buckets=SECONDS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "slipway_requests_in_flight",
    "Requests that are not answered yet",
    ("protocol",),
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
INFO = Gauge(
    "slipway_model_info",
    "1 for the model that is served",
    (*MODEL, "digest"),
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
READY = Gauge(
    "slipway_model_ready",
    "Whether the model can answer and the server is not draining",
    MODEL,
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
AUDIT_LINES = Counter("slipway_audit_lines_total", "Lines written to the audit log", registry=REGISTRY)
AUDIT_ERRORS = Counter("slipway_audit_errors_total", "Failed attempts to write the audit log", registry=REGISTRY)
AUDIT_LOST = Counter("slipway_audit_lost_total", "Audit records dropped because too many waited", registry=REGISTRY)
AUDIT_WAITING = Gauge(
    "slipway_audit_waiting",
    "Audit records in memory that could not be written yet",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
TIMED = frozenset({"infer", "predict", "explain"})
if MULTIPROCESS not in os.environ:  # these describe one process
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=REGISTRY)


class ModelMetrics:
    """The samples of one model.

    Args:
        name: as in the protocols' paths; empty while no model is loaded.
        version: that answers state.
        digest: of the bundle.
    """

    def __init__(self, name: str = "", version: str = "", digest: str = "") -> None:
        self.name = name
        self.version = version
        self.digest = digest
        self._model = (name, version)
        if name:
            INFO.labels(*self._model, digest).set(1)

    def answered(self, protocol: str, method: str, code: int, source: str, seconds: float) -> None:
        """Count an outcome. `code` is an HTTP status; 499 when the client went before it was answered."""
        REQUESTS.labels(*self._model, protocol, method, str(code), source).inc()
        if method in TIMED and code < 499:
            DURATION.labels(*self._model, protocol, method, source).observe(seconds)

    def ready(self, ready: bool) -> None:
        """State whether the model can answer."""
        READY.labels(*self._model).set(ready)


def page(accept: str) -> tuple[bytes, str]:
    """All samples in the form that the header Accept asks for, and its content type."""
    registry = REGISTRY
    if MULTIPROCESS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encoder, content_type = exposition.choose_encoder(accept)
    return encoder(registry), content_type
