"""The access checks of REST: before a body is read, and around the answer. What is open to everybody takes no body."""

import logging
from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.serving.access import API_KEY, Access, Credentials
from slipway.serving.access.caller import ANONYMOUS, set_caller
from slipway.serving.access.rules import OPEN, Needed, path_needs
from slipway.serving.errors import Forbidden, Unauthenticated, told
from slipway.serving.rest_api.early_responses import REFUSALS, answer_unread, refuse

logger = logging.getLogger("serving")
CERTIFICATE = "client_certificate"
"""Where in a request's `state` the name of the client certificate is, if there is one."""

KNOWN = "known"
"""Where in a request's `state` is what to call when its caller may call, until that was done on the connection."""


class Checked:
    """An ASGI application that only those reach who may."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        set_caller(ANONYMOUS)  # a task may have been started by that of the request before
        path = scope["path"]
        with ExitStack() as held:
            try:
                needed = _needs(path)
                caller = await self.access.caller(_credentials(scope), needed)
                set_caller(caller)
                held.enter_context(self.access.admitted(caller))
            except REFUSALS as error:
                reason = (path[:200], type(error).__name__, told(error))
                logger.warning("event=denied path=%r error=%s reason=%r", *reason)
                await refuse(error, scope, receive, send)
                return
            if needed is OPEN:
                await answer_unread(self.app, scope, receive, send)
                return
            if known := scope["state"].get(KNOWN):
                known()
            await self.app(scope, receive, send)


def _needs(path: str) -> Needed:
    """Of a path. Raises Forbidden when its characters could be read otherwise by the router: `$` matches before \\n."""
    if not path.isprintable():
        raise Forbidden("the path has characters that no path here has")
    return path_needs(path)


def _credentials(scope: Scope) -> Credentials:
    """Of a request. Raises Unauthenticated when a header is there twice: proxies might look at the other one."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1")
        if name in ("authorization", API_KEY):
            if name in found:
                raise Unauthenticated(f"the header {name} is there twice", given=True)
            found[name] = value.decode("latin-1").strip()
    certificate = scope.get("state", {}).get(CERTIFICATE)
    return Credentials(found.get("authorization"), found.get(API_KEY), certificate)
