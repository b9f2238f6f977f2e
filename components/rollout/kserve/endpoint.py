"""The public endpoint of an InferenceService: its address at the gateway, and requests as clients send them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx

from slipway.components.clients.credentials import api_key, trust_advice, trusted
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.clients.v2_protocol import infer_request, path
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.cluster_settings import own_namespace
from slipway.components.rollout.counter_resets import COUNTED, ending_of
from slipway.components.rollout.kserve.manifest import Mode

Protocol = Literal["rest", "grpc"]
TIMEOUT_S = 30.0
THREADS = 4
UNROUTED = (0, 404, 502, 503, 504)
"""Statuses of the gateway itself: no revision counted the request, or the one that did ended."""
FAILED_CALLS = ("UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "DATA_LOSS")
"""gRPC codes of calls that a revision counts as failed. The gateway sends UNAVAILABLE; other codes are refusals."""


class Endpoint(NamedTuple):
    """Where clients send requests."""

    base: str
    """Scheme, host and port."""
    host: str
    """Value of the header Host, by which the gateway finds the service; empty when `base` has this host."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the gateway needs in every request."""
        return {"Host": self.host} if self.host else {}


def endpoint_of(
    service: dict[str, Any] | None, mode: Mode, gateway: str, find: Callable[[], str | None] = lambda: None
) -> Endpoint:
    """The endpoint of an InferenceService.

    Args:
        service: the InferenceService.
        mode: of its deployment.
        gateway: configured address of the gateway, or empty.
        find: returns the gateway's address within the cluster. It is called only in a pod and in Standard mode, where
            the host of `status.url` does not resolve, and `status.address` bypasses the split of traffic.

    Raises:
        BadInput: the service has no URL yet.
    """
    status = (service or {}).get("status", {})
    url, address = status.get("url"), status.get("address", {}).get("url")
    if not url:
        raise BadInput("the InferenceService has no URL yet; see `kubectl describe inferenceservice`")
    if gateway:
        return Endpoint(gateway.rstrip("/"), urlsplit(url).netloc)
    if own_namespace() and address and mode == "Knative":
        return Endpoint(address.rstrip("/"), "")
    if own_namespace() and mode == "Standard" and (internal := find()):
        return Endpoint(internal, urlsplit(url).netloc)
    return Endpoint(url.rstrip("/"), "")


def client_of(endpoint: Endpoint, model: str, protocol: Protocol) -> Client | GrpcClient:
    """A client of the endpoint, with the credentials of the environment."""
    if protocol == "rest":
        headers = endpoint.headers | credentials()
        return Client(endpoint.base, model=model, key="", timeout_s=TIMEOUT_S, headers=headers)
    url = urlsplit(endpoint.base)
    target = f"{url.hostname}:{url.port or 80}"
    return GrpcClient(target, model=model, key="", timeout_s=TIMEOUT_S, headers=credentials(), authority=endpoint.host)


def send_grpc(endpoint: Endpoint, model: str, texts: Sequence[str]) -> int:
    """Send each text through the endpoint over gRPC, as `send` does over REST."""
    with client_of(endpoint, model, "grpc") as client:

        def ask(text: str) -> bool:
            try:
                client.predict([text])
            except SlipwayError as error:
                return any(f"answered {code}:" in str(error) for code in FAILED_CALLS)
            return True

        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(ask, texts))


def send(endpoint: Endpoint, model: str, texts: Sequence[str], headers: dict[str, str]) -> int:
    """Send each text through the endpoint, several at a time; return how many of them a revision admitted and counts.

    Raises:
        BadInput: nothing listens at the address.
    """
    with httpx.Client(
        base_url=endpoint.base,
        headers=endpoint.headers | headers,
        timeout=TIMEOUT_S,
        trust_env=False,
        verify=trusted(endpoint.base),
    ) as http:

        def ask(text: str) -> int:
            try:
                return http.post(path(model, "infer"), json=infer_request([text])).status_code
            except httpx.ConnectError as error:
                raise BadInput(
                    f"the gateway does not answer at {endpoint.base} ({error}); set cluster.gateway to its address"
                    f"{trust_advice(error)}"
                ) from error
            except httpx.HTTPError:
                return 0

        with ThreadPoolExecutor(THREADS) as pool:
            statuses = list(pool.map(ask, texts))
    return sum(status not in UNROUTED and ending_of(status) in COUNTED for status in statuses)


def version_that_answers(endpoint: Endpoint, model: str, protocol: Protocol) -> str | None:
    """The version that answers on a new connection to the endpoint; None when the response does not name it.

    The request is for the model's metadata, which is not counted as a prediction.
    """
    try:
        with client_of(endpoint, model, protocol) as client:
            return client.version()
    except SlipwayError:
        return None


def credentials() -> dict[str, str]:
    """Headers with the API key in the environment variable SLIPWAY_API_KEY; none without it.

    The key is not in the header `Authorization`, since the API server uses that one itself on the way to a pod.
    """
    key = api_key()
    return {"x-api-key": key} if key else {}
