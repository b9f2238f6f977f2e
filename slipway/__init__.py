"""Slipway: labelled text and a pretrained encoder in, a small signed model under live canary traffic out.

The names in `__all__` are for everybody; docs/python.md describes them. All else is private and may change with any
version. They are imported when they are first used: `import slipway` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slipway.components.clients.credentials import Tls
    from slipway.components.clients.v2_client import AsyncClient, Client
    from slipway.components.clients.v2_operations import ModelStatus
    from slipway.components.clients.v2_protocol import Explanation, Prediction, Predictions
    from slipway.components.errors import AccessRefused, BadInput, ModelNotFound, NoAnswer, SlipwayError, Unavailable
    from slipway.pipelines.python_api import RunFailed, RunResult, compile, run

__all__ = [
    "AccessRefused",
    "AsyncClient",
    "BadInput",
    "Client",
    "Explanation",
    "ModelNotFound",
    "ModelStatus",
    "NoAnswer",
    "Prediction",
    "Predictions",
    "RunFailed",
    "RunResult",
    "SlipwayError",
    "Tls",
    "Unavailable",
    "compile",
    "run",
]

_MODULES = {
    "components.clients.credentials": ("Tls",),
    "components.clients.v2_client": ("AsyncClient", "Client"),
    "components.clients.v2_protocol": ("Explanation", "Prediction", "Predictions"),
    "components.clients.v2_operations": ("ModelStatus",),
    "components.errors": ("AccessRefused", "BadInput", "ModelNotFound", "NoAnswer", "SlipwayError", "Unavailable"),
    "pipelines.python_api": ("RunFailed", "RunResult", "compile", "run"),
}
"""Where each name is, below this package."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
