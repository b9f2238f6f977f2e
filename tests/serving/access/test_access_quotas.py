"""How much one identity may ask: its own bucket and its own places, whatever others do."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.serving.access.caller import Caller, Means
from slipway.serving.access.quotas import PRUNE_ABOVE, Quotas
from slipway.serving.errors import OverQuota
from slipway.serving.limits import Limits
from tests.serving.conftest import Server, Start

SHOP, DESK = Caller("shop", means=Means.KEY), Caller("desk", means=Means.KEY)
SHOP_BY_TOKEN = Caller("shop", means=Means.TOKEN)


class Clock:
    """A time that passes when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(quotas: Quotas, caller: Caller, times: int = 1) -> int:
    """How many of so many requests, one after the other, were let through."""
    through = 0
    for _ in range(times):
        try:
            with quotas.held(caller):
                through += 1
        except OverQuota:
            pass
    return through


def test_a_burst_and_then_the_rate_are_let_through() -> None:
    clock = Clock()
    quotas = Quotas(Limits(rate=2.0, burst=5), clock)
    assert ask(quotas, SHOP, 10) == 5
    clock.now += 0.49
    assert ask(quotas, SHOP, 10) == 0
    clock.now += 0.02
    assert ask(quotas, SHOP, 10) == 1
    clock.now += 2.0
    assert ask(quotas, SHOP, 10) == 4
    clock.now += 1000
    assert ask(quotas, SHOP, 10) == 5


def test_over_a_long_time_the_rate_holds() -> None:
    clock = Clock()
    quotas = Quotas(Limits(rate=3.0, burst=1), clock)
    through = 0
    for _ in range(3000):
        clock.now += 0.01
        through += ask(quotas, SHOP)
    assert abs(through - 90) <= 1


def test_a_refusal_says_when_to_come_back() -> None:
    clock = Clock()
    quotas = Quotas(Limits(rate=0.5), clock)
    ask(quotas, SHOP)
    with pytest.raises(OverQuota) as refusal, quotas.held(SHOP):
        pass
    assert refusal.value.retry_after_s == pytest.approx(2.0)
    clock.now += refusal.value.retry_after_s
    assert ask(quotas, SHOP) == 1


def test_identities_do_not_share() -> None:
    quotas = Quotas(Limits(rate=1.0, concurrency=1), Clock())
    with quotas.held(SHOP):
        assert ask(quotas, DESK) == 1
        assert ask(quotas, SHOP_BY_TOKEN) == 1  # whoever may name subjects must not spend what keys have
        assert ask(quotas, SHOP) == 0


def test_places_are_given_back_also_after_an_error() -> None:
    quotas = Quotas(Limits(concurrency=2))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), quotas.held(SHOP):
            1 / 0  # noqa: B018
    with quotas.held(SHOP), quotas.held(SHOP):
        assert ask(quotas, SHOP) == 0
    assert ask(quotas, SHOP) == 1


def test_identities_that_have_gone_are_forgotten() -> None:
    clock = Clock()
    quotas = Quotas(Limits(rate=1.0), clock)
    for number in range(PRUNE_ABOVE):
        ask(quotas, Caller(str(number), means=Means.TOKEN))
    clock.now += 5
    ask(quotas, SHOP)
    assert len(quotas._full_at) == 1


@dataclass(frozen=True)
class Limited:
    """A server, and the headers of clients with a key of their own each."""

    server: Server
    busy: dict[str, str]
    calm: dict[str, str]
    eager: dict[str, str]


@pytest.fixture(scope="module")
def limited(module_start: Start, moody_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Limited:
    """A server where an identity may have two requests at hand, and send very few."""
    file = tmp_path_factory.mktemp("keys") / "api-keys.json"
    made = {name: api_keys.add(file, name, [Scope.PREDICT])[1] for name in ("busy", "calm", "eager")}
    options = ("--concurrency", "2", "--rate", "0.02", "--burst", "4")
    server = module_start(moody_bundle, "--allow_unsigned", "--api_keys", file, *options).wait_ready()
    return Limited(server, **{n: {"authorization": f"Bearer {key}"} for n, key in made.items()})


def infer(limited: Limited, headers: dict[str, str], text: str = "hello") -> httpx.Response:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    return httpx.post(f"{limited.server.model_url}/infer", json=body, headers=headers, timeout=60)


def test_more_than_an_identity_may_have_at_hand_is_refused_and_others_are_answered(limited: Limited) -> None:
    """The third of three slow requests is refused while the others are computed."""

    def slow(_: int) -> int:
        return infer(limited, limited.busy, "again").status_code

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(slow, range(3)))
    assert sorted(answers) == [200, 200, 429]
    assert infer(limited, limited.calm).status_code == 200


def test_more_than_an_identity_may_send_is_refused_over_both_protocols_with_the_time_to_wait(limited: Limited) -> None:
    answers = [infer(limited, limited.eager) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 50
    assert "texts a second" in answers[-1].json()["error"]
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"a"]}}
    request = messages.ModelInferRequest(model_name="messages", inputs=[tensor])
    with grpc.insecure_channel(limited.server.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        services.GRPCInferenceServiceStub(channel).ModelInfer(request, metadata=tuple(limited.eager.items()))
    assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < int(dict(failure.value.trailing_metadata())["retry-after"]) <= 50
    assert httpx.get(f"{limited.server.model_url}/ready").status_code == 200  # health costs nothing
