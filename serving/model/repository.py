"""The V2 model repository extension (load, unload, index) for the one bundle that a server was started with.

Load verifies and opens that bundle again, while the former model still answers; it cannot load another one. Unload
frees the memory of the model, and the server is then not ready.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NoReturn

from kserve import Model, ModelRepository
from kserve.errors import ModelNotFound, ModelNotReady
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from slipway.components.errors import BundleRefused, SlipwayError
from slipway.serving.model.kserve_model import BundleModel
from slipway.serving.telemetry.metrics import ModelMetrics

logger = logging.getLogger("serving")
UNLOADED = "it was unloaded"


class Unloaded(Model):  # type: ignore[misc]  # kserve is not typed
    """A placeholder for a model that is not in memory; it is not ready.

    Args:
        name: name of the model.
        version: its version.
        metrics: its metrics.
        reason: why it is not in memory. Readiness probes return it, so anybody can read it.
    """

    def __init__(self, name: str, version: str, metrics: ModelMetrics, reason: str) -> None:
        super().__init__(name)
        self.version = version
        self.metrics = metrics
        self.reason = reason

    def start(self) -> None:
        """Called by kserve. The base class would set the model ready."""

    async def predict(self, *_: Any) -> NoReturn:
        """Raises ModelNotReady. A request gets here if the model is unloaded after the check of its readiness."""
        raise ModelNotReady(self.name)

    async def explain(self, *_: Any) -> NoReturn:
        """Raises ModelNotReady; see `predict`."""
        raise ModelNotReady(self.name)


class BundleRepository(ModelRepositoryExtension):  # type: ignore[misc]
    """The model repository of a server.

    Args:
        models: kserve's registry of the server's models.
        load: verifies and loads the bundle.
    """

    def __init__(self, models: ModelRepository, load: Callable[[], BundleModel]) -> None:
        super().__init__(models)
        self._models, self._load = models, load
        self._changing = asyncio.Lock()

    async def load(self, model_name: str) -> dict[str, Any]:
        """Verify the bundle, open it again, and serve it. If that fails, a loaded model stays in use.

        Raises:
            ModelNotFound: the server does not have this model.
            ModelNotReady: the bundle was refused or cannot answer.
        """
        self._known(model_name)
        async with self._changing:
            try:
                model = await asyncio.to_thread(self._load)
            except SlipwayError as error:
                logger.error("event=load_failed error=%s reason=%r", type(error).__name__, str(error))
                reason = _public_reason(error)
                known = self._known(model_name)
                if isinstance(known, Unloaded):
                    known.reason = reason
                raise ModelNotReady(model_name, reason) from error
            self._models.update(model)
        logger.info("event=loaded model=%s version=%s digest=%s", model.name, model.version, model.digest)
        return {"name": model_name, "load": True}

    async def unload(self, model_name: str) -> dict[str, Any]:
        """Unload the model. It still answers the requests that it has accepted, and is then freed.

        Raises:
            ModelNotFound: the server does not have this model.
        """
        async with self._changing:
            known = self._known(model_name)
            self._models.update(Unloaded(known.name, known.version, known.metrics, UNLOADED))
        logger.info("event=unloaded model=%s", model_name)
        return {"name": model_name, "unload": True}

    async def index(self, filter_ready: bool | None = False) -> list[dict[str, str]]:
        """The model with its state; nothing if `filter_ready` is set and it is not ready."""
        return [
            {
                "name": name,
                "version": model.version,
                "state": "READY" if model.ready else "UNAVAILABLE",
                "reason": self.reason(name),
            }
            for name, model in self._models.get_models().items()
            if model.ready or not filter_ready
        ]

    def reason(self, model_name: str) -> str:
        """Why a model is not loaded; empty if it is."""
        return getattr(self._models.get_model(model_name), "reason", "")

    def _known(self, model_name: str) -> BundleModel | Unloaded:
        model: BundleModel | Unloaded | None = self._models.get_model(model_name)
        if model is None:
            raise ModelNotFound(model_name[:100])
        return model


def _public_reason(error: SlipwayError) -> str:
    """The reason for clients, without paths and other internals; the log has the full message."""
    if isinstance(error, BundleRefused):
        return (
            "BundleRefused: the bundle is unsigned, altered, incomplete, signed by someone else, or another than the "
            "one that this server is to serve"
        )
    return f"{type(error).__name__}: the bundle cannot be loaded; the server's log says why"
