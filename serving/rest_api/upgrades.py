"""Reads a request to upgrade the connection as an ordinary one, which a server may do (RFC 9110, section 7.8).

Java's HTTP client asks for HTTP/2 (`Upgrade: h2c`) with its first request, also when that has a body. httptools ends
such a request at its head and then takes nothing more.
"""

from typing import Any

import httptools

FRAMING = (b"content-length", b"transfer-encoding")


class PlainParser:
    """httptools' parser of requests, without upgrades.

    The message that httptools ends at the head of such a request does not count: `ends_early` is then true. Another
    parser goes on with its body, and with the requests behind it.

    Args:
        protocol: has uvicorn's callbacks, and the header fields of the request as `headers`.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = _parser(protocol)

    def feed_data(self, data: bytes) -> None:
        """Parse bytes. Raises httptools.HttpParserError if they are not HTTP."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._read_body()
            else:
                return

    def _read_body(self) -> None:
        """Go on with a parser that has read a head with the framing of the present request, and nothing else."""
        callbacks = _WithoutHead(self._protocol)
        self._parser = _parser(callbacks)
        framing = [b"%b: %b\r\n" % field for field in self._protocol.headers if field[0] in FRAMING]
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing or [b"content-length: 0\r\n"]))
        callbacks.in_head = False

    def ends_early(self) -> bool:
        """Whether the request is one to upgrade, which httptools ends at its head."""
        return bool(self._parser.should_upgrade())

    def should_upgrade(self) -> bool:
        """Never, for uvicorn."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class _WithoutHead:
    """The callbacks of a protocol, but for those of a head that the protocol knows already."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.in_head = True
        self.on_body, self.on_message_complete = protocol.on_body, protocol.on_message_complete

    def on_message_begin(self) -> None:
        if not self.in_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.in_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.in_head:
            self._protocol.on_headers_complete()


def _parser(callbacks: Any) -> Any:
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    return parser
