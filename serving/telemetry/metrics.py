"""The Prometheus metrics of a model server, which `GET /metrics` returns.

One process serves one bundle. So every sample has the name and version of that model, whatever model a request named:
a client can neither invent label values nor hide refused requests from the model's counts. Identities and texts are
never labels. If PROMETHEUS_MULTIPROC_DIR is set, the processes that share that folder report their metrics together.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

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

from slipway.components.clients.latency_histogram import LATENCY_BOUNDS_MS

REGISTRY = CollectorRegistry()
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
LONGEST_MS = 30_000
SECONDS = tuple(round(bound / 1000, 6) for bound in LATENCY_BOUNDS_MS if bound <= LONGEST_MS)
"""Upper bounds of the latency buckets in seconds. They are those of a rollout's histograms, so that a rollout can use
the counts without conversion."""
POWERS_OF_2 = tuple(2**power for power in range(12))
MODEL = ("model_name", "model_version")

REQUESTS = Counter(
    "slipway_requests_total",
    "Requests that were answered or given up, by HTTP status (gRPC codes as their HTTP counterparts, 499: abandoned)",
    (*MODEL, "protocol", "method", "code", "source"),
    registry=REGISTRY,
)
DURATION = Histogram(
    "slipway_request_duration_seconds",
    "From the head of an inference or explanation request to the head of its answer; of answers with 2xx alone",
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
QUEUE_WAIT = Histogram(
    "slipway_queue_wait_seconds",
    "From the tokens of a request to its first inference",
    MODEL,
    buckets=SECONDS,
    registry=REGISTRY,
)
WAITING = Gauge(
    "slipway_texts_waiting",
    "Texts that are admitted and not answered yet",
    MODEL,
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
DROPPED = Counter(
    "slipway_texts_dropped_total",
    "Texts whose clients went before the model saw them",
    MODEL,
    registry=REGISTRY,
)
BATCH_TEXTS = Histogram("slipway_batch_texts", "Texts of an inference", MODEL, buckets=POWERS_OF_2, registry=REGISTRY)
TOKENS = Counter(
    "slipway_tokens_total",
    "Tokens that the model computed; the share of kind `padding` is wasted",
    (*MODEL, "kind"),
    registry=REGISTRY,
)
PREDICTIONS = Counter("slipway_predictions_total", "Texts by predicted label", (*MODEL, "label"), registry=REGISTRY)
DRIFT = Gauge(
    "slipway_drift_index",
    "Population Stability Index of the last texts against the reference in the bundle",
    (*MODEL, "feature"),
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
DRIFT_BY_CHANCE = Gauge(
    "slipway_drift_index_by_chance",
    "What the index exceeds in 1 % of cases without any drift, given how many texts are compared",
    (*MODEL, "feature"),
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
DRIFT_TEXTS = Gauge(
    "slipway_drift_texts",
    "Texts in the window that is compared with the reference; 0 when the bundle has none",
    MODEL,
    registry=REGISTRY,
    multiprocess_mode="livemax",
)
AUDIT_LINES = Counter("slipway_audit_lines_total", "Lines written to the audit log", registry=REGISTRY)
AUDIT_ERRORS = Counter("slipway_audit_errors_total", "Failed attempts to write the audit log", registry=REGISTRY)
AUDIT_LOST = Counter("slipway_audit_lost_total", "Audit records dropped because too many waited", registry=REGISTRY)
AUDIT_LEFT_OUT = Counter(
    "slipway_audit_left_out_total",
    "Refused requests of callers that nobody knows, which are counted in the audit log but have no line of their own",
    registry=REGISTRY,
)
LOG_LEFT_OUT = Counter(
    "slipway_log_left_out_total", "Warnings that were not written to the log: too many of a kind", registry=REGISTRY
)
AUDIT_WAITING = Gauge(
    "slipway_audit_waiting",
    "Audit records in memory that could not be written yet",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
TIMED = frozenset({"infer", "predict", "explain"})
if MULTIPROCESS not in os.environ:  # these collectors describe one process, and cannot be added up
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=REGISTRY)


class ModelMetrics:
    """The metrics of one model.

    Args:
        name: name in the paths of the protocols; empty while no model is loaded.
        version: version in responses.
        digest: digest of the bundle.
    """

    def __init__(self, name: str = "", version: str = "", digest: str = "") -> None:
        self.name = name
        self.version = version
        self.digest = digest
        self._model = (name, version)
        self._children: dict[Any, Any] = {}

    def _of(self, metric: Any) -> Any:
        """The child of a metric whose only labels are the model's. It is cached, since `labels` is slow."""
        child = self._children.get(metric)
        if child is None:
            child = self._children[metric] = metric.labels(*self._model)
        return child

    def answered(self, protocol: str, method: str, code: int, source: str, seconds: float) -> None:
        """Count a request with its outcome.

        Args:
            protocol: `rest` or `grpc`.
            method: see `slipway.serving.telemetry.request_record.Exchange`.
            code: HTTP status; 499 if the client disconnected before the response.
            source: `client`, `comparison` or `stranger`.
            seconds: time from the head of the request to the head of the response.
        """
        REQUESTS.labels(*self._model, protocol, method, str(code), source).inc()
        if method in TIMED and 200 <= code < 300:  # refusals are quick, and would make the model look faster than it is
            DURATION.labels(*self._model, protocol, method, source).observe(seconds)

    def state(self, ready: bool) -> None:
        """Set which model is served and whether it can answer. Gauges of a model served before are removed."""
        for gauge in (INFO, READY, DRIFT, DRIFT_BY_CHANCE, DRIFT_TEXTS) if MULTIPROCESS not in os.environ else ():
            gauge.clear()
        if self.name:
            INFO.labels(*self._model, self.digest).set(1)
        READY.labels(*self._model).set(ready)

    def waited(self, seconds: float) -> None:
        """Observe how long a request waited until its first text was in a batch."""
        self._of(QUEUE_WAIT).observe(seconds)

    def waiting(self, texts: int) -> None:
        """Set the number of waiting texts."""
        self._of(WAITING).set(texts)

    def dropped(self, texts: int) -> None:
        """Count texts that were not computed, since their clients had disconnected."""
        self._of(DROPPED).inc(texts)

    def batch(self, lengths: Sequence[int]) -> None:
        """Count an inference; `lengths` are the tokens of its texts."""
        tokens = sum(lengths)
        self._of(BATCH_TEXTS).observe(len(lengths))
        TOKENS.labels(*self._model, "text").inc(tokens)
        TOKENS.labels(*self._model, "padding").inc(max(lengths) * len(lengths) - tokens)

    def predicted(self, labels: Mapping[str, int]) -> None:
        """Count texts by predicted label."""
        for label, count in labels.items():
            PREDICTIONS.labels(*self._model, label).inc(count)

    def drift(self, feature: str, index: float, by_chance: float) -> None:
        """Set the drift index of a feature, and the index that chance exceeds in 1 % of cases."""
        DRIFT.labels(*self._model, feature).set(index)
        DRIFT_BY_CHANCE.labels(*self._model, feature).set(by_chance)

    def drift_texts(self, texts: int) -> None:
        """Set the number of texts that the drift indices are computed from."""
        DRIFT_TEXTS.labels(*self._model).set(texts)


def metrics_text(accept: str) -> tuple[bytes, str]:
    """All metrics in the format that the header Accept asks for, and the content type of that format."""
    registry = REGISTRY
    if MULTIPROCESS in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encoder, content_type = exposition.choose_encoder(accept)
    return encoder(registry), content_type
