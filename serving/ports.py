"""Ports: taken before anything slow happens, listened on when the server can answer."""

import errno
import socket

from slipway.components.errors import BadInput


def bind(host: str, port: int) -> socket.socket:
    """Take an address without listening yet: clients are refused until the server can answer.

    Raises:
        BadInput: the port is in use, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY only then
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise BadInput(f"port {port} is in use on {host}; stop what listens there, or choose another") from error
        raise BadInput(f"{host}:{port} cannot be listened on ({error}); choose another address") from error
    return listener
