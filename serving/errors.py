"""What a request can end in besides an answer, with its place in HTTP and gRPC.

`kserve.errors` has InvalidInput, ModelNotFound and ModelNotReady; these are the ones that it lacks. Messages go to
the client: they never carry a request's text or a library's own message, and `told` bounds what they quote of it.
"""

from kserve.errors import ModelNotFound

TOLD = 400
"""Characters of a message at most, in an answer as in the log."""


def told(error: Exception | str) -> str:
    """The message of an error as it is given to the client and to the log: whatever it quotes, it is short."""
    message = str(error)
    return message if len(message) <= TOLD else f"{message[:TOLD]}… ({len(message)} characters)"


class VersionNotFound(ModelNotFound):  # type: ignore[misc]  # kserve is not typed
    """The model is served in another version (HTTP 404, NOT_FOUND)."""

    def __init__(self, model_name: str, version: str) -> None:
        super().__init__(model_name)
        self.reason = f"Model with name {model_name} is not served in version {version}."


class Malformed(ValueError):
    """The body is JSON, but not an inference request (HTTP 422, INVALID_ARGUMENT)."""


class TooLarge(ValueError):
    """The body has more bytes than the server takes (HTTP 413)."""


class Overloaded(RuntimeError):
    """The queue is full; the client should come back later (HTTP 429, RESOURCE_EXHAUSTED)."""

    retry_after_s = 1.0


class OverQuota(Overloaded):
    """This caller has more requests at hand, or sends more a second, than one identity may."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unauthenticated(RuntimeError):
    """No credentials were given, or none that are good (HTTP 401, UNAUTHENTICATED)."""

    def __init__(self, message: str, given: bool) -> None:
        super().__init__(message)
        self.given = given
        """Whether there were any."""


class Forbidden(RuntimeError):
    """The operation is not open to this client (HTTP 403, PERMISSION_DENIED)."""

    def __init__(self, message: str, scope: str = "") -> None:
        super().__init__(message)
        self.scope = scope
        """What the client would need."""


class NotCheckable(RuntimeError):
    """A token cannot be checked now, because the issuer's keys cannot be had (HTTP 503, UNAVAILABLE)."""


class TooSlow(RuntimeError):
    """The request did not arrive in time (HTTP 408, DEADLINE_EXCEEDED)."""


class InferenceFailed(RuntimeError):
    """The model raised or gave numbers that are not finite (HTTP 500, INTERNAL)."""
