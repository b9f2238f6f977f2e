"""A driver that lost its lock to another changes nothing any more, whatever it still believes and has still to send."""

import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from slipway.components.errors import SlipwayError
from slipway.components.rollout.kserve.lease import BELIEVED, DURATION_S, Lease
from slipway.components.rollout.kserve.objects import Changed
from slipway.components.rollout.kserve.record import HOLDER
from slipway.components.rollout.kserve.target import KServeTarget
from tests.components.rollout.conftest import MakeSite
from tests.components.rollout.kserve_cluster import NAME, NAMESPACE
from tests.components.rollout.kserve_http import LEASES
from tests.components.rollout.kserve_site import FIRST, SECOND, Site

LEASE = f"{LEASES}/{NAME}-rollout"


class Clock:
    """Stands still until somebody moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def expire(site: Site) -> None:
    """Let the lease be one that was not renewed for long; its holder does not notice."""
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=DURATION_S + 5)
    site.cluster.objects[LEASE]["spec"]["renewTime"] = long_ago.isoformat()


def cut_off(target: KServeTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a driver renew its lease no more and believe in it for ever, as one whose clock stands still."""
    over = threading.Event()
    monkeypatch.setattr(target._lease, "_renew", over.set)
    monkeypatch.setattr(target._lease, "_clock", lambda: target._lease._renewed)
    assert over.wait(20)  # no renewal is on its way any more


def token_of(site: Site) -> str:
    return str(site.service()["metadata"]["annotations"][HOLDER])


def test_a_holder_gives_up_before_others_may_begin_counting_from_before_it_asked(make_site: MakeSite) -> None:
    site, clock = make_site(), Clock()
    lease = Lease(site.target.api.connection, NAMESPACE, "lock", clock=clock)
    slow = client.CoordinationV1Api.create_namespaced_lease

    def answered_late(*given: Any, **named: Any) -> Any:
        answer = slow(lease._api, *given, **named)
        clock.now += 10.0
        return answer

    lease._api.create_namespaced_lease = answered_late
    with lease.holding():
        lease._renew = lambda: None  # type: ignore[method-assign]
        clock.now = 1000.0 + BELIEVED * DURATION_S - 0.1
        lease.check()
        clock.now = 1000.0 + BELIEVED * DURATION_S + 0.1
        with pytest.raises(SlipwayError, match="could not be renewed for 13 s"):
            lease.check()
    assert BELIEVED * DURATION_S < DURATION_S - 5


def test_a_renewal_counts_from_before_the_request(make_site: MakeSite) -> None:
    site, clock = make_site(), Clock()
    lease = Lease(site.target.api.connection, NAMESPACE, "lock", clock=clock)
    with lease.holding():
        replace, timeouts = lease._api.replace_namespaced_lease, []

        def answered_late(*given: Any, **named: Any) -> Any:
            clock.now += 9.0
            timeouts.append(named["_request_timeout"])
            return replace(*given, **named)

        lease._api.replace_namespaced_lease = answered_late
        began = clock.now
        lease._renew()
        assert began <= lease._renewed < clock.now
        assert max(timeouts) <= BELIEVED * DURATION_S
        lease._api.replace_namespaced_lease = replace


def test_each_holder_has_a_higher_number_also_after_the_lease_was_deleted(make_site: MakeSite) -> None:
    site = make_site()
    site.serve(FIRST)
    numbers = []
    for turn in range(4):
        target = site.target
        with target.lock():
            target.save_state({"turn": turn})
            numbers.append(int(token_of(site).split()[0]))
        if turn == 1:
            del site.cluster.objects[LEASE]
    assert numbers == [1, 2, 3, 4]


def test_a_driver_whose_lock_was_taken_changes_nothing_however_long_it_believes_in_it(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    site.serve(FIRST)
    old, new = site.target, site.target
    with old.lock():
        old.save_state({"driver": "old"})
        old.deploy(SECOND)
        cut_off(old, monkeypatch)
        expire(site)
        with new.lock():
            before = site.cluster.service
            act: Callable[[], None]
            for act in (lambda: old.set_traffic(50), old.promote, old.rollback, lambda: old.save_state({"late": True})):
                with pytest.raises(SlipwayError, match="another rollout has taken models/messages over"):
                    act()
            assert site.cluster.service == before
            new.wait_ready(SECOND, 10.0)
            new.set_traffic(10)
        assert site.target.record().percent == 10


def test_a_change_that_was_on_its_way_when_another_took_over_is_refused(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    site.serve(FIRST)
    old, new = site.target, site.target
    held, go = threading.Event(), threading.Event()
    send = old.api.apply
    refused = []

    def late(*given: Any) -> Any:
        held.set()
        assert go.wait(20)
        try:
            return send(*given)
        except Changed as error:
            refused.append(str(error))
            raise

    def change() -> None:
        with pytest.raises(SlipwayError, match="has taken models/messages over"):
            old.save_state({"late": True})

    with old.lock():
        cut_off(old, monkeypatch)
        monkeypatch.setattr(old.api, "apply", late)
        sending = threading.Thread(target=change)
        sending.start()
        assert held.wait(20)
        expire(site)
        with new.lock():
            go.set()
            sending.join(20)
            assert refused == ["the object has been modified"]
            assert site.target.load_state() is None
            assert token_of(site).startswith("2 ")


def test_a_service_that_another_made_meanwhile_is_not_overwritten(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    old, new = site.target, site.target
    with old.lock():
        cut_off(old, monkeypatch)
        expire(site)
        read = old.api.read
        with new.lock():
            seen = [None, None, None]  # what it saw before the other made one
            monkeypatch.setattr(old.api, "read", lambda: seen.pop() if seen else read())
            new.deploy(FIRST)
            with pytest.raises(SlipwayError, match="has taken models/messages over"):
                old.deploy(SECOND)
        assert seen == []
        assert site.target.challenger() == FIRST


def test_a_removal_is_refused_too(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site()
    old, new = site.target, site.target
    with old.lock():
        old.deploy(FIRST)
        cut_off(old, monkeypatch)
        expire(site)
        with new.lock(), pytest.raises(SlipwayError, match="has taken models/messages over"):
            old.rollback()
        assert site.cluster.service


def test_the_token_of_a_service_from_before_comes_with_its_first_change(make_site: MakeSite) -> None:
    """Alone, it would come into the pod template, since no constant twin is in `spec.predictor`."""
    site = make_site()
    site.serve(FIRST)
    predictor = site.service()["spec"]["predictor"]
    del predictor["annotations"][HOLDER]
    target = site.target
    with target.lock():
        assert HOLDER not in site.service()["metadata"]["annotations"]
        target.save_state({"new": True})
        assert token_of(site).startswith("1 ")
        assert HOLDER in site.service()["spec"]["predictor"]["annotations"]
