"""Checks of the framing in the head of a request: Host, body length and transfer coding (RFC 9110 and 9112)."""

from collections.abc import Sequence
from http import HTTPStatus

Field = tuple[bytes, bytes]


class BadFraming(ValueError):
    """The framing of a request is not accepted. The connection is closed, since its next byte has no clear meaning."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_framing(fields: Sequence[Field], version: str) -> None:
    """Check that every proxy in front of this server finds the same end of the request (no request smuggling).

    Args:
        fields: header fields, with names in lower case.
        version: HTTP version, such as `1.1`.

    Raises:
        BadFraming: proxies may disagree, or the server does not know the transfer coding of the body.
    """
    hosts = 0
    for name, value in fields:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":  # RFC 9112, section 6.1
            raise BadFraming(HTTPStatus.NOT_IMPLEMENTED, "the only transfer coding here is chunked")
    if hosts != 1 and (hosts or version != "1.0"):  # RFC 9112, section 3.2
        raise BadFraming(HTTPStatus.BAD_REQUEST, f"a request has one Host field; this has {hosts}")
