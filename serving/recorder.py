"""Writes each exchange where it belongs: to the metrics of the model that is served."""

from kserve import ModelRepository

from serving.exchange import Exchange
from serving.metrics import IN_FLIGHT, ModelMetrics

NO_MODEL = ModelMetrics()


class ExchangeRecorder:
    """The recorder of one server.

    Args:
        repository: of the server's models; there is at most one.
    """

    def __init__(self, repository: ModelRepository) -> None:
        self._models = repository.get_models()

    @property
    def metrics(self) -> ModelMetrics:
        """Of the model that is served."""
        return next((model.metrics for model in self._models.values()), NO_MODEL)

    def began(self, exchange: Exchange) -> None:
        """Count a request in."""
        IN_FLIGHT.labels(exchange.protocol).inc()

    def answered(self, exchange: Exchange) -> None:
        """Count the outcome."""
        e = exchange
        self.metrics.answered(e.protocol, e.method, e.code, e.source, e.seconds)

    def ended(self, exchange: Exchange) -> None:
        """Count the request out."""
        IN_FLIGHT.labels(exchange.protocol).dec()

    def ready(self, ready: bool) -> None:
        """State whether the server can answer."""
        self.metrics.ready(ready)
