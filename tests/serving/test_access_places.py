"""Places, rate and bytes of a caller: at each limit, and given back after each error."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from slipway.serving.access import Access
from slipway.serving.access.byte_budget import Budget
from slipway.serving.access.caller import ANONYMOUS, Caller, Means, charge, current_caller
from slipway.serving.access.quotas import Quotas
from slipway.serving.errors import Overloaded, OverQuota
from slipway.serving.limits import Limits
from tests.serving.access.test_access_quotas import DESK, SHOP, Clock


def at_hand(quotas: Quotas) -> dict[Any, int]:
    return dict(quotas._at_hand)


def test_whatever_refuses_a_request_its_place_is_free_again() -> None:
    """Or its caller would get 429 for ever."""
    clock = Clock()
    quotas = Quotas(Limits(rate=1.0, burst=1, concurrency=2), clock)
    access = Access(quotas)
    with access.admitted(SHOP):
        assert current_caller() is SHOP
    for _ in range(3):
        with pytest.raises(OverQuota, match="may send 1 texts a second"), access.admitted(SHOP):
            raise AssertionError("it was let in")
    assert at_hand(quotas) == {}
    for _ in range(3):
        clock.now += 60
        with pytest.raises(OverQuota, match="2 texts of 'shop' are at hand; 2 may be"), access.admitted(SHOP):  # noqa: PT012
            charge(2, 0)  # the first alone may have more than there are places
            with access.admitted(SHOP):
                raise AssertionError("it was let in")
    assert at_hand(quotas) == {}


def test_a_charge_that_is_refused_takes_nothing_and_one_that_is_taken_is_given_back() -> None:
    quotas = Quotas(Limits(concurrency=4))
    with quotas.held(SHOP), quotas.held(SHOP) as held:
        held.charge(3, 0)
        assert at_hand(quotas) == {SHOP.identity: 4}
        with pytest.raises(OverQuota, match="4 texts of 'shop' are at hand; 4 may be"):
            held.charge(4, 0)
        held.charge(2, 0)  # it has more already
        assert at_hand(quotas) == {SHOP.identity: 4}
        with quotas.held(DESK) as other:
            other.charge(9, 0)  # a single request passes whatever it has
            assert at_hand(quotas)[DESK.identity] == 9
    assert at_hand(quotas) == {}


def test_inferences_are_owed_and_waited_for() -> None:
    clock = Clock()
    quotas = Quotas(Limits(rate=2.0, burst=3), clock)
    with quotas.held(SHOP) as held:
        held.charge(10, 9)
    with pytest.raises(OverQuota) as refusal, quotas.held(SHOP):
        pass
    assert refusal.value.retry_after_s == pytest.approx((1 + 9) / 2 - 2 / 2)
    with quotas.held(DESK):
        assert at_hand(quotas) == {DESK.identity: 1}


def test_nobody_pays_for_what_is_open() -> None:
    quotas = Quotas(Limits(rate=1.0, burst=1, concurrency=1))
    for _ in range(5):
        with Access(quotas).admitted(ANONYMOUS):
            assert at_hand(quotas) == {}


@contextmanager
def portions(budget: Budget, *callers: Caller) -> Iterator[list[Any]]:
    with ExitStack() as held:
        yield [held.enter_context(budget.portion(caller)) for caller in callers]


def test_an_identity_has_half_of_the_bytes_and_all_together_the_whole() -> None:
    budget = Budget(100)
    with portions(budget, SHOP, SHOP, DESK, Caller("third", means=Means.KEY)) as (one, two, desk, third):
        one.grow(30)
        assert two.try_grow(20)
        assert not two.try_grow(1)
        with pytest.raises(Overloaded, match="too many requests are in memory"):
            one.grow(1)
        assert (one.size, two.size) == (30, 20)
        desk.grow(49)
        assert budget.has_room(1)
        assert not budget.has_room(2)
        assert third.try_grow(1)
        assert not third.try_grow(1)
        desk.resize(9)
        assert budget.has_room(40)
        assert budget.fits(DESK, 40)
        assert not budget.fits(SHOP, 1)
    assert budget.has_room(100)
    assert not budget.has_room(101)
    assert not budget._of


def test_bytes_are_given_back_after_an_error() -> None:
    budget = Budget(100)
    for _ in range(3):
        with pytest.raises(Overloaded), budget.portion(SHOP) as portion:  # noqa: PT012
            portion.grow(50)
            portion.grow(1)
    assert budget.has_room(100)
