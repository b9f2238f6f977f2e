"""The scopes that a caller needs for each path of REST and each method of gRPC.

Health and readiness are open, since probes have no keys. Everything else needs an identity. Predictions, explanations
and administration need the scope of that name; the rest (metadata, metrics, documents, reflection) needs any scope.
"""

import re

from slipway.serving.access.caller import Scope

Needed = frozenset[Scope]
"""A caller needs one of these scopes. If there are none, the path or method is open to everybody."""
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
    """The scopes for a request over REST. `path` is percent-decoded, since the router matches the decoded path."""
    return next((needed for pattern, needed in _PATHS if pattern.fullmatch(path)), ANY)


def method_needs(method: str) -> Needed:
    """The scopes for a call over gRPC; `method` is `/package.Service/Method`."""
    return _METHODS.get(method, ANY)
