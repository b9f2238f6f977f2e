"""Records each request and its outcome in the metrics of the served model and in the audit log."""

import uuid
from typing import Any

from kserve import ModelRepository

from slipway.serving.access.caller import ANONYMOUS, current_caller
from slipway.serving.audit.audit_log import AuditLog
from slipway.serving.audit.unknown_callers import UnknownCallers
from slipway.serving.model.kserve_model import BundleModel
from slipway.serving.model.repository import Unloaded
from slipway.serving.telemetry.metrics import IN_FLIGHT, ModelMetrics
from slipway.serving.telemetry.request_record import Exchange

NO_MODEL = ModelMetrics()
ID_CHARACTERS = 128


class ExchangeRecorder:
    """The recorder of one server; implements `slipway.serving.telemetry.request_record.Recorder`.

    Args:
        repository: the server's models; there is at most one.
        audit: the audit log; None for none.
    """

    def __init__(self, repository: ModelRepository, audit: AuditLog | None = None) -> None:
        self._models = repository.get_models()
        self._audit = audit
        self._unknown_callers = UnknownCallers()

    @property
    def _model(self) -> BundleModel | Unloaded | None:
        return next(iter(self._models.values()), None)

    @property
    def metrics(self) -> ModelMetrics:
        """Metrics of the served model."""
        return self._model.metrics if self._model else NO_MODEL

    def began(self, exchange: Exchange) -> None:
        """Count a request as in flight."""
        IN_FLIGHT.labels(exchange.protocol).inc()

    def answered(self, exchange: Exchange) -> None:
        """Count the outcome, and append it to the audit log."""
        model = self.metrics
        model.answered(exchange.protocol, exchange.method, exchange.code, exchange.source, exchange.seconds)
        # Anybody can cause refusals, so of the requests of unknown callers the audit log gets only a sample.
        if self._audit and (current_caller() != ANONYMOUS or self._unknown_callers.wants(exchange.code)):
            self._audit.append(request_record(exchange, model, self._audit.texts))
        self._report()

    def ended(self, exchange: Exchange) -> None:
        """Count the request as no longer in flight."""
        IN_FLIGHT.labels(exchange.protocol).dec()

    def ready(self, ready: bool) -> None:
        """Update the metrics of readiness and drift."""
        self._report()
        self.metrics.state(ready)
        if isinstance(self._model, BundleModel):
            self._model.drift.update()

    def started(self) -> None:
        """Record in the audit log which bundle is served from now on."""
        if self._audit:
            self._audit.append({"event": "started", **_facts(self.metrics)})

    def stopped(self) -> None:
        """Record the end of the server, and write what the audit log still has in memory."""
        self._report(at_once=True)
        if self._audit:
            self._audit.append({"event": "stopped", **_facts(self.metrics)})
            self._audit.close()

    def _report(self, at_once: bool = False) -> None:
        """Record in the audit log how many requests were left out of it."""
        if self._audit and (left_out := self._unknown_callers.report(at_once)):
            self._audit.append(left_out)


def request_record(exchange: Exchange, model: ModelMetrics, texts: bool) -> dict[str, Any]:
    """The audit record of a request.

    Args:
        exchange: the request with its outcome.
        model: the metrics of the served model, which know its name, version and digest.
        texts: whether the record contains the texts.
    """
    caller = current_caller()
    record = {
        "event": "request",
        "id": exchange.request_id[:ID_CHARACTERS] or uuid.uuid4().hex,
        "caller": caller.name,
        "means": caller.means,
        "key": caller.key,
        "protocol": exchange.protocol,
        "method": exchange.method,
        "source": exchange.source,
        **_facts(model),
        "status": exchange.code,
        "texts_count": len(exchange.texts),
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "ms": round(exchange.seconds * 1000, 3),
    }
    return {**record, "texts": exchange.texts} if texts else record


def _facts(model: ModelMetrics) -> dict[str, str]:
    return {"model": model.name, "version": model.version, "digest": model.digest}
