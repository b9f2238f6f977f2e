"""The errors that a request can end with, each with its status in HTTP and gRPC.

`kserve.errors` has InvalidInput, ModelNotFound and ModelNotReady; this module has those that it lacks. Their messages
go to the client, so they never contain a text of the request or a library's message. `client_message` cuts long ones.
"""

from kserve.errors import ModelNotFound

MESSAGE_LIMIT = 400
"""Most characters of a message, in a response and in the log."""


def client_message(error: Exception | str) -> str:
    """The message of an error for the client and the log, cut to `MESSAGE_LIMIT`, since it may quote the request."""
    message = str(error)
    return message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}… ({len(message)} characters)"


class VersionNotFound(ModelNotFound):  # type: ignore[misc]  # kserve is not typed
    """The model is served, but not in this version (HTTP 404, NOT_FOUND)."""

    def __init__(self, model_name: str, version: str) -> None:
        super().__init__(model_name)
        self.reason = f"Model with name {model_name} is not served in version {version}."


class Malformed(ValueError):
    """The body is JSON, but not an inference request (HTTP 422, INVALID_ARGUMENT)."""


class TooLarge(ValueError):
    """The body has more bytes than the server accepts (HTTP 413, RESOURCE_EXHAUSTED)."""


class Encoded(ValueError):
    """The body is compressed or encoded otherwise, which the server does not undo (HTTP 415)."""


class Overloaded(RuntimeError):
    """The queue or the memory for requests is full; the client should retry later (HTTP 429, RESOURCE_EXHAUSTED)."""

    retry_after_s = 1.0


class OverQuota(Overloaded):
    """The caller has more texts at hand, or sends more a second, than one identity may (HTTP 429)."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unauthenticated(RuntimeError):
    """The request has no credentials, or no valid ones (HTTP 401, UNAUTHENTICATED)."""

    def __init__(self, message: str, given: bool) -> None:
        super().__init__(message)
        self.given = given
        """Whether the request had credentials at all."""


class Forbidden(RuntimeError):
    """The client may not do this operation (HTTP 403, PERMISSION_DENIED)."""

    def __init__(self, message: str, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope
        """The scopes that would allow it, separated by spaces; empty if no scope would."""


class NotCheckable(RuntimeError):
    """A token cannot be checked now, since the issuer's keys are not available (HTTP 503, UNAVAILABLE)."""


class TooSlow(RuntimeError):
    """The request did not arrive in time (HTTP 408, DEADLINE_EXCEEDED)."""


class InferenceFailed(RuntimeError):
    """The model raised, or returned numbers that are not finite (HTTP 500, INTERNAL)."""
