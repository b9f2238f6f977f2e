"""Ports of a model server. They are bound before the slow load of the model, and listen once the server can answer."""

import errno
import socket

from slipway.components.errors import BadInput


def bind(host: str, port: int) -> socket.socket:
    """Bind an address without listening, so that connections are refused until the server can answer.

    Raises:
        BadInput: the port is in use, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets whose protocol is stated, so IPPROTO_TCP must not be left to the default.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise BadInput(f"port {port} is in use on {host}; stop what listens there, or choose another") from error
        raise BadInput(f"{host}:{port} cannot be listened on ({error}); choose another address") from error
    return listener
