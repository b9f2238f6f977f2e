"""Checks of the framing in the head of a request: Host, body length and transfer coding (RFC 9110 and 9112)."""

from collections.abc import Sequence
from http import HTTPStatus

Field = tuple[bytes, bytes]


class BadFraming(ValueError):
    """The framing of a request is not accepted. The connection is closed, since its next byte has no clear meaning."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_framing(fields: Sequence[Field], version: str, upgrade: bool) -> None:
    """Check that every proxy in front of this server finds the same end of the request (no request smuggling).

    Args:
        fields: header fields, with names in lower case.
        version: HTTP version, such as `1.1`.
        upgrade: whether the parser takes the request for one to upgrade. Such a request has no body to the parser,
            which would read the bytes of a body as another request.

    Raises:
        BadFraming: proxies may disagree, or the server does not know the transfer coding of the body.
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
