"""The V2 service over gRPC. kserve's service ignores versions; this one checks them, and states the served version."""

from typing import Any

from kserve.errors import ModelNotReady
from kserve.protocol.grpc import grpc_predict_v2_pb2
from kserve.protocol.grpc.servicer import InferenceServicer

from slipway.serving.protocol.dataplane import MOST_ITEMS, BundleDataPlane, check_number

SERVICE = grpc_predict_v2_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class VersionedServicer(InferenceServicer):  # type: ignore[misc]  # kserve is not typed
    """Answers calls of the service. Raises ModelNotFound for a version that is not served."""

    _data_plane: BundleDataPlane

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802  # of the protocol
        """Whether a model can answer."""
        self._data_plane.check_version(request.name, request.version)
        return await super().ModelReady(request, context)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Names, types and shapes of inputs and outputs, and the served version."""
        self._data_plane.check_version(request.name, request.version)
        metadata = await super().ModelMetadata(request, context)
        metadata.versions.extend(self._data_plane.versions(request.name))
        return metadata

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer an inference request. Raises InvalidInput and ModelNotReady too."""
        _check_numbers(request)
        self._data_plane.check_version(request.model_name, request.model_version)
        if not await self._data_plane.model_ready(request.model_name, True):
            raise ModelNotReady(request.model_name, self._data_plane.reason())
        return await super().ModelInfer(request, context)


def _check_numbers(request: Any) -> None:
    """Check that the lists of a request are short, since kserve makes an object of each item. Raises InvalidInput."""
    for items, what in (
        (request.inputs, "'inputs'"),
        (request.outputs, "'outputs'"),
        (request.parameters, "'parameters'"),
        (request.raw_input_contents, "'raw_input_contents'"),
        *((tensor.shape, "'shape' of an input") for tensor in request.inputs[: MOST_ITEMS + 1]),
    ):
        check_number(len(items), what)
