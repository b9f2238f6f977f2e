"""What a request can end in besides an answer, with its place in HTTP and gRPC.

`kserve.errors` has InvalidInput, ModelNotFound and ModelNotReady; these are the ones that it lacks. Messages go to
the client: they never carry a request's text or a library's own message.
"""


class Malformed(ValueError):
    """The body is JSON, but not an inference request (HTTP 422, INVALID_ARGUMENT)."""


class TooLarge(ValueError):
    """The body has more bytes than the server takes (HTTP 413)."""


class Overloaded(RuntimeError):
    """The queue is full; the client should come back later (HTTP 429, RESOURCE_EXHAUSTED)."""


class Forbidden(RuntimeError):
    """The operation is not open to this client (HTTP 403, PERMISSION_DENIED)."""


class InferenceFailed(RuntimeError):
    """The model raised or gave numbers that are not finite (HTTP 500, INTERNAL)."""
