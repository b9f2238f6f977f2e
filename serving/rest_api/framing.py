"""What the head of a request may say about the request itself (RFC 9110 and 9112); all else is for the application."""

from collections.abc import Sequence
from http import HTTPStatus

Field = tuple[bytes, bytes]


class BadFraming(ValueError):
    """The head is none that can be answered; the connection ends."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_framing(fields: Sequence[Field], version: str, upgrade: bool) -> None:
    """Return when a request is framed in a way that everybody before this server reads in the same way.

    Args:
        fields: of the head, names in lower case.
        version: of HTTP.
        upgrade: whether the parser takes it for a request to upgrade, which has no body to it: the body would be read
            as another request.

    Raises:
        BadFraming: it is not, or the body is in a coding that the server does not know.
    """
    hosts = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if value.strip().lower() != b"chunked":  # RFC 9112, section 6.1
                raise BadFraming(HTTPStatus.NOT_IMPLEMENTED, "the only transfer coding here is chunked")
            if upgrade:
                raise BadFraming(HTTPStatus.BAD_REQUEST, "a request to upgrade with a body")
        elif name == b"content-length" and upgrade and value != b"0":
            raise BadFraming(HTTPStatus.BAD_REQUEST, "a request to upgrade with a body")
    if hosts != 1 and (hosts or version != "1.0"):  # RFC 9112, section 3.2
        raise BadFraming(HTTPStatus.BAD_REQUEST, f"a request has one Host field; this has {hosts}")
