"""The access checks of REST. They come before the body is read, and the caller's quota is held until the response.

Paths that are open to everybody never read a body, so that unknown clients cannot fill the memory.
"""

import logging
from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.serving.access import API_KEY, Access, Credentials
from slipway.serving.access.caller import ANONYMOUS, set_caller
from slipway.serving.access.rules import OPEN, Needed, path_needs
from slipway.serving.errors import Forbidden, Unauthenticated, client_message
from slipway.serving.rest_api.early_responses import REFUSALS, answer_unread, refuse

logger = logging.getLogger("serving")
CERTIFICATE = "client_certificate"
"""Key in a request's `state` of the name in the client certificate, if there is one."""

KNOWN = "known"
"""Key in a request's `state` of a function to call once the caller has passed the checks. The connection sets it until
it was called once."""


class AccessMiddleware:
    """ASGI middleware that passes on only the requests of callers who may make them."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        set_caller(ANONYMOUS)  # a new task inherits the context, and so the caller, of the task that started it
        path = scope["path"]
        with ExitStack() as held:
            try:
                needed = _needs(path)
                caller = await self.access.caller(_credentials(scope), needed)
                set_caller(caller)
                held.enter_context(self.access.admitted(caller))
            except REFUSALS as error:
                reason = (path[:200], type(error).__name__, client_message(error))
                logger.warning("event=denied path=%r error=%s reason=%r", *reason)
                await refuse(error, scope, receive, send)
                return
            if needed is OPEN:
                await answer_unread(self.app, scope, receive, send)
                return
            if mark_known := scope["state"].get(KNOWN):
                mark_known()
            await self.app(scope, receive, send)


def _needs(path: str) -> Needed:
    """The scopes for a path.

    Raises:
        Forbidden: the path has characters that are not printable. The router could match such a path to another route
            than `path_needs` does, since `$` in its patterns also matches before a final newline.
    """
    if not path.isprintable():
        raise Forbidden("the path has characters that no path here has")
    return path_needs(path)


def _credentials(scope: Scope) -> Credentials:
    """The credentials of a request.

    Raises:
        Unauthenticated: a header is there twice. A proxy in front might have checked the other one.
    """
    values: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name in ("authorization", API_KEY):
            if name in values:
                raise Unauthenticated(f"the header {name} is there twice", given=True)
            values[name] = value.decode("latin-1").strip()
    return Credentials(values.get("authorization"), values.get(API_KEY), scope["state"].get(CERTIFICATE))
