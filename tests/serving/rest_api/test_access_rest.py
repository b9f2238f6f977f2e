"""The access checks of REST in front of an application: who reaches it, as whom, and what a refused client is told."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from slipway.components.clients import api_keys
from slipway.serving.access import Access
from slipway.serving.access.caller import ANONYMOUS, Caller, Means, current_caller, set_caller
from slipway.serving.access.keys import ApiKeys
from slipway.serving.access.quotas import Quotas
from slipway.serving.limits import Limits
from slipway.serving.rest_api.access import CERTIFICATE, KNOWN, AccessMiddleware
from tests.serving.access.test_access_quotas import Clock

INFER, LOAD, READY = "/v2/models/messages/infer", "/v2/repository/models/messages/load", "/v2/models/messages/ready"


class Front:
    """The access checks in front of an application that says who called it with how many bytes."""

    def __init__(self, folder: Path, certificate: str | None = None, limits: Limits | None = None) -> None:
        file = folder / "keys.json"
        self.key = api_keys.add(file, "shop", [api_keys.Scope.PREDICT])[1]
        self.quotas = Quotas(limits or Limits(), Clock())
        access = Access(self.quotas, ApiKeys(file), certificate_scopes=frozenset({api_keys.Scope.PREDICT}))
        self._middleware = AccessMiddleware(self._application, access)
        self._certificate = certificate
        self.reached: list[tuple[str, Caller]] = []
        self.at_hand: dict[tuple[str, str], int] = {}
        self.known = 0
        """How often the connection was told that its caller is known."""
        self.last_caller: Caller | None = None

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append((scope["path"], current_caller()))
        self.at_hand = dict(self.quotas._at_hand)
        if scope["path"].endswith("broken/infer"):
            raise ZeroDivisionError
        body = await Request(scope, receive).body()
        await JSONResponse({"caller": current_caller().name, "bytes": len(body)})(scope, receive, send)

    async def _connection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What a connection adds to a request."""
        scope["state"] = {KNOWN: self._mark_known} | ({CERTIFICATE: self._certificate} if self._certificate else {})
        await self._middleware(scope, receive, send)
        self.last_caller = current_caller()

    def _mark_known(self) -> None:
        self.known += 1

    def ask(self, path: str, *, key: str = "", body: bytes = b"hello", before: Caller = ANONYMOUS) -> httpx.Response:
        """The response to one request, in a task that inherits the caller `before`."""

        async def ask() -> httpx.Response:
            set_caller(before)
            transport = httpx.ASGITransport(self._connection)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                headers = {"authorization": f"Bearer {key}"} if key else {}
                return await client.post(path, content=body, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def front(tmp_path: Path) -> Front:
    """The access checks in front of an application."""
    return Front(tmp_path)


def test_a_known_caller_reaches_the_application_with_its_body_and_holds_a_place_meanwhile(front: Front) -> None:
    answer = front.ask(INFER, key=front.key)
    assert (answer.status_code, answer.json()) == (200, {"caller": "shop", "bytes": 5})
    assert front.at_hand == {(Means.KEY, "shop"): 1}
    assert front.known == 1
    with pytest.raises(ZeroDivisionError):
        front.ask("/v2/models/broken/infer", key=front.key)
    assert dict(front.quotas._at_hand) == {}


def test_a_certificate_that_the_connection_has_verified_is_a_caller(tmp_path: Path) -> None:
    front = Front(tmp_path, certificate="phone")
    assert front.ask(INFER).json() == {"caller": "phone", "bytes": 5}
    assert front.ask(LOAD).status_code == 403


@pytest.mark.parametrize(
    ("path", "known", "status", "error"),
    [
        (INFER, False, 401, "this needs an API key or a token"),
        ("/metrics", False, 401, "this needs an API key or a token"),
        (LOAD, True, 403, "'shop' lacks the scope for this: admin"),
        (f"{INFER}%0A", True, 403, "the path has characters that no path here has"),
        (f"{READY}%0A", False, 403, "the path has characters that no path here has"),
    ],
)
def test_a_refused_request_never_reaches_the_application(
    front: Front, path: str, known: bool, status: int, error: str
) -> None:
    answer = front.ask(path, key=front.key if known else "")
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)
    assert front.reached == []
    assert front.known == 0


def test_more_than_its_quota_is_refused_with_the_time_to_wait_before_the_application_is_reached(tmp_path: Path) -> None:
    front = Front(tmp_path, limits=Limits(rate=0.5, burst=1))
    assert [front.ask(INFER, key=front.key).status_code for _ in range(2)] == [200, 429]
    assert front.ask(INFER, key=front.key).headers["retry-after"] == "2"
    assert len(front.reached) == front.known == 1


def test_a_refusal_names_the_caller_only_where_the_credentials_were_good(front: Front) -> None:
    """The audit log reads the caller. A task inherits that of the task that started it, which may be another one."""
    other = Caller("other", means=Means.KEY)
    front.ask(LOAD, key=front.key, before=other)
    assert front.last_caller is not None
    assert front.last_caller.name == "shop"
    for path, key in ((INFER, ""), (INFER, "wrong"), (f"{INFER}%0A", front.key), (READY, front.key)):
        front.ask(path, key=key, before=other)
        assert front.last_caller is ANONYMOUS


def test_what_is_open_is_answered_without_a_caller_and_without_the_body(tmp_path: Path) -> None:
    front = Front(tmp_path, limits=Limits(rate=0.5, burst=1))
    for _ in range(3):
        answer = front.ask(READY, key=front.key, body=b"x" * 1000)
        assert (answer.status_code, answer.json()) == (200, {"caller": "anonymous", "bytes": 0})
    assert front.at_hand == {}
    assert front.known == 0  # a stranger's connection is the first that makes room


def test_a_refusal_is_logged_with_its_reason_and_no_more_of_the_path_than_a_line_has_room_for(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "serving"):
        front.ask("/" + "a" * 10_000, key="wrong")
    (line,) = caplog.messages
    assert line.startswith("event=denied path='/aaa")
    assert "error=Unauthenticated reason='the API key is unknown or was revoked'" in line
    assert len(line) < 400
    assert "wrong" not in line


def test_what_is_no_request_goes_to_the_application(front: Front) -> None:
    """Such as the start and the end of the server's life."""
    told: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        told.append(scope)

    async def nothing() -> dict[str, str]:
        return {}

    async def nowhere(_: object) -> None:
        return None

    middleware = AccessMiddleware(application, Access(front.quotas))
    asyncio.run(middleware({"type": "lifespan"}, nothing, nowhere))
    assert told == [{"type": "lifespan"}]
