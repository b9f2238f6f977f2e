"""Writes each exchange where it belongs: to the metrics of the model that is served, and to the audit log."""

import uuid
from typing import Any

from kserve import ModelRepository

from slipway.serving.access.caller import ANONYMOUS, current_caller
from slipway.serving.audit.audit_log import AuditLog
from slipway.serving.audit.unknown_callers import Strangers
from slipway.serving.model.kserve_model import BundleModel
from slipway.serving.model.repository import Unloaded
from slipway.serving.telemetry.metrics import IN_FLIGHT, ModelMetrics
from slipway.serving.telemetry.request_record import Exchange

NO_MODEL = ModelMetrics()
ID_CHARACTERS = 128


class ExchangeRecorder:
    """The recorder of one server.

    Args:
        repository: of the server's models; there is at most one.
        audit: None for no audit log.
    """

    def __init__(self, repository: ModelRepository, audit: AuditLog | None = None) -> None:
        self._models = repository.get_models()
        self._audit = audit
        self._strangers = Strangers()

    @property
    def _model(self) -> BundleModel | Unloaded | None:
        return next(iter(self._models.values()), None)

    @property
    def metrics(self) -> ModelMetrics:
        """Of the model that is served."""
        return self._model.metrics if self._model else NO_MODEL

    def began(self, exchange: Exchange) -> None:
        """Count a request in."""
        IN_FLIGHT.labels(exchange.protocol).inc()

    def answered(self, exchange: Exchange) -> None:
        """Count the outcome, and hand it to the audit log."""
        e = exchange
        model = self.metrics
        model.answered(e.protocol, e.method, e.code, e.source, e.seconds)
        if self._audit and (current_caller() != ANONYMOUS or self._strangers.wants(e.code)):
            self._audit.append(request_record(exchange, model, self._audit.texts))
        self._report()

    def ended(self, exchange: Exchange) -> None:
        """Count the request out."""
        IN_FLIGHT.labels(exchange.protocol).dec()

    def ready(self, ready: bool) -> None:
        """State whether the server can answer, and how its texts look."""
        self._report()
        self.metrics.state(ready)
        if isinstance(self._model, BundleModel):
            self._model.drift.update()

    def started(self) -> None:
        """Say in the audit log what is served from now on."""
        if self._audit:
            self._audit.append({"event": "started", **_facts(self.metrics)})

    def stopped(self) -> None:
        """Write what the audit log still has in memory."""
        self._report(at_once=True)
        if self._audit:
            self._audit.append({"event": "stopped", **_facts(self.metrics)})
            self._audit.close()

    def _report(self, at_once: bool = False) -> None:
        """Say in the audit log how many requests have no line."""
        if self._audit and (left_out := self._strangers.report(at_once)):
            self._audit.append(left_out)


def request_record(exchange: Exchange, model: ModelMetrics, texts: bool) -> dict[str, Any]:
    """What the audit log says of a request."""
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
