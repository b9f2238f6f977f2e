"""What each path of REST and each method of gRPC needs of a caller.

Health and readiness are open, since probes have no keys. All else needs an identity: predictions, explanations and
administration the scope of that name, and whatever is left (metadata, metrics, documents, reflection) any scope.
"""

import re

from slipway.serving.access.caller import Scope

Needed = frozenset[Scope]
"""One of these scopes is enough; without any, the door is open."""
OPEN: Needed = frozenset()
ANY: Needed = frozenset(Scope)
METRICS = "/metrics"

_MODEL = r"/v[12]/models/[^/]+?(/versions/[^/]+)?"
_PATHS: list[tuple[re.Pattern[str], Needed]] = [
    (re.compile(pattern), needed)
    for pattern, needed in (
        (r"/", OPEN),
        (r"/v2/health/(live|ready)", OPEN),
        (rf"{_MODEL}/ready", OPEN),
        (r"/v1/models/[^/:]+", OPEN),  # readiness in V1
        (rf"{_MODEL}(/infer|:predict)", frozenset({Scope.PREDICT})),
        (rf"{_MODEL}[/:]explain", frozenset({Scope.EXPLAIN})),
        (r"/v2/repository/models/.*/(load|unload)", frozenset({Scope.ADMIN})),
    )
]
_SERVICE = "/inference.GRPCInferenceService/"
_METHODS: dict[str, Needed] = {
    f"{_SERVICE}ServerLive": OPEN,
    f"{_SERVICE}ServerReady": OPEN,
    f"{_SERVICE}ModelReady": OPEN,
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/List": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    f"{_SERVICE}ModelInfer": frozenset({Scope.PREDICT}),
    f"{_SERVICE}RepositoryModelLoad": frozenset({Scope.ADMIN}),
    f"{_SERVICE}RepositoryModelUnload": frozenset({Scope.ADMIN}),
}


def path_needs(path: str) -> Needed:
    """What a request of REST needs; `path` is decoded, as the routes are matched."""
    return next((needed for pattern, needed in _PATHS if pattern.fullmatch(path)), ANY)


def method_needs(method: str) -> Needed:
    """What a call of gRPC needs; `method` is `/package.Service/Method`."""
    return _METHODS.get(method, ANY)
