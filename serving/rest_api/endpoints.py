"""The endpoints of REST: V2 with versions and its model repository extension, and V1.

They replace kserve's endpoints, which answer versioned paths with 501, accept no body without a Content-Type, and send
the headers of a request for an explanation back. Like those, they leave the work to the data plane.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import fastapi
import orjson
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import ModelNotReady, ServerNotReady
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slipway.serving.errors import Malformed
from slipway.serving.model.repository import BundleRepository
from slipway.serving.protocol.dataplane import BundleDataPlane, json_object, v2_request
from slipway.serving.protocol.parsing import off_loop

Handler = Callable[[Request], Awaitable[Response]]
MODEL = "/v2/models/{model_name}"
VERSION = f"{MODEL}/versions/{{model_version}}"


class Endpoints:
    """The handlers of REST.

    Args:
        dataplane: decodes requests and calls the model.
        repository: loads, unloads and lists the model.
    """

    def __init__(self, dataplane: BundleDataPlane, repository: BundleRepository) -> None:
        self._dataplane = dataplane
        self._repository = repository

    def register(self, app: fastapi.FastAPI) -> None:
        """Add the paths to an application; `slipway.serving.rest_api.openapi` describes them."""
        for verb, path, handler in self.paths():
            app.add_route(path, handler, methods=[verb], include_in_schema=False)

    def paths(self) -> list[tuple[str, str, Handler]]:
        """Method, path and handler of each endpoint."""
        return [
            ("GET", "/", self._alive),
            ("GET", "/v2", self._server_metadata),
            ("GET", "/v2/health/live", self._live),
            ("GET", "/v2/health/ready", self._ready),
            ("GET", "/v2/models", self._models),
            *(
                endpoint
                for model in (MODEL, VERSION)
                for endpoint in (
                    ("GET", model, self._model_metadata),
                    ("GET", f"{model}/ready", self._model_ready),
                    ("POST", f"{model}/infer", self._infer),
                )
            ),
            ("POST", "/v2/repository/index", self._index),
            ("POST", "/v2/repository/models/{model_name}/load", self._load),
            ("POST", "/v2/repository/models/{model_name}/unload", self._unload),
            ("GET", "/v1/models", self._models),
            ("POST", "/v1/models/{model_name}:predict", self._predict),
            ("POST", "/v1/models/{model_name}:explain", self._explain),
            ("GET", "/v1/models/{model_name}", self._v1_model_ready),
        ]

    async def _alive(self, _: Request) -> Response:
        return json_response(await self._dataplane.live())

    async def _live(self, _: Request) -> Response:
        return json_response({"live": True})

    async def _ready(self, _: Request) -> Response:
        if not await self._dataplane.ready():
            raise ServerNotReady(self._dataplane.reason())
        return json_response({"ready": True})

    async def _server_metadata(self, _: Request) -> Response:
        return json_response(self._dataplane.metadata())

    async def _models(self, _: Request) -> Response:
        return json_response({"models": list(self._dataplane.model_registry.get_models())})

    async def _model_metadata(self, request: Request) -> Response:
        name = self._model_name(request)
        return json_response(await self._dataplane.model_metadata(name))

    async def _model_ready(self, request: Request) -> Response:
        name = self._model_name(request)
        if not await self._dataplane.model_ready(name):
            raise ModelNotReady(name, self._dataplane.reason())
        return json_response({"name": name, "ready": True})

    async def _v1_model_ready(self, request: Request) -> Response:
        if request.path_params["model_name"].endswith((":predict", ":explain")):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        return await self._model_ready(request)

    async def _infer(self, request: Request) -> Response:
        name = await self._ready_model(request)
        headers = dict(request.headers)
        body = await request.body()
        payload = await off_loop(len(body), v2_request, body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), name)
        response, _ = await self._dataplane.infer(name, payload, headers)
        content, json_length = response.to_rest()
        if json_length is None:
            return json_response(content)
        binary = {INFERENCE_CONTENT_LENGTH_HEADER: str(json_length)}
        return Response(content, media_type="application/octet-stream", headers=binary)

    async def _predict(self, request: Request) -> Response:
        return await self._v1(request, self._dataplane.infer)

    async def _explain(self, request: Request) -> Response:
        return await self._v1(request, self._dataplane.explain)

    async def _v1(self, request: Request, operation: Callable[..., Awaitable[tuple[Any, Any]]]) -> Response:
        """Answer a V1 request: JSON with JSON, and a cloud event with a cloud event."""
        name = await self._ready_model(request)
        headers = dict(request.headers)
        body = await request.body()
        payload, attributes = await off_loop(len(body), self._dataplane.decode, body, headers)
        response, _ = await operation(model_name=name, request=payload, headers=headers)
        content, response_headers = self._dataplane.encode(name, response, headers, attributes)
        if isinstance(content, bytes | str):
            return Response(content, headers=response_headers)
        return json_response(content, response_headers)

    async def _index(self, request: Request) -> Response:
        body = await request.body()
        ready_only = (await off_loop(len(body), json_object, body)).get("ready", False) if body.strip() else False
        if not isinstance(ready_only, bool):
            raise Malformed("'ready' must be true or false")
        return json_response(await self._repository.index(ready_only))

    async def _load(self, request: Request) -> Response:
        return json_response(await self._repository.load(request.path_params["model_name"]))

    async def _unload(self, request: Request) -> Response:
        return json_response(await self._repository.unload(request.path_params["model_name"]))

    def _model_name(self, request: Request) -> str:
        """The name of the model in the path. Raises ModelNotFound for a model or version that is not served."""
        name: str = request.path_params["model_name"]
        self._dataplane.check_version(name, request.path_params.get("model_version", ""))
        return name

    async def _ready_model(self, request: Request) -> str:
        """The name of the model in the path, if it can answer. Raises ModelNotFound and ModelNotReady."""
        name = self._model_name(request)
        if not await self._dataplane.model_ready(name, True):
            raise ModelNotReady(name, self._dataplane.reason())
        return name


def json_response(content: Any, headers: dict[str, str] | None = None) -> Response:
    """A response with `content` as JSON."""
    return Response(orjson.dumps(content), media_type="application/json", headers=headers)
