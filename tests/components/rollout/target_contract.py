"""What every place must do in which a rollout can happen: the promises of the protocol `RolloutTarget`, as tests.

A module that tests a place has a class that inherits from `TargetContract`, and a fixture `place`.
"""

import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from slipway.components.errors import RevisionFailed, SlipwayError
from slipway.components.rollout.target import Counts, Pair, Revision, RolloutTarget

TEXTS = [f"my parcel is late {number}" for number in range(20)]
READY_S = 120.0


class Place(Protocol):
    """A place with one model; what a driver and its tests need of it."""

    standing: Revision | None
    """The challenger that tests share which change neither revision."""

    def target(self) -> RolloutTarget:
        """The model as a driver that has just started sees it."""
        ...

    def good(self) -> Revision:
        """A revision that nothing served yet and that answers."""
        ...

    def broken(self) -> Revision:
        """A revision that cannot be served."""
        ...


def serve(place: Place, revision: Revision) -> RolloutTarget:
    """Start a revision as the challenger, and wait until it answers."""
    target = place.target()
    target.deploy(revision)
    target.wait_ready(revision, READY_S)
    return target


def answered(target: RolloutTarget, revision: Revision) -> int:
    """Requests that a revision answered so far."""
    return target.observe().get(revision.version, Counts()).requests


class TargetContract:
    """Each test begins with a champion and may leave another behind.

    To start a revision takes seconds, so tests share one where they can.
    """

    @pytest.fixture
    def champion(self, place: Place) -> Iterator[Revision]:
        target = place.target()
        with target.lock():
            if target.champion() is None:
                serve(place, place.good()).promote()
            champion = place.target().champion()
            assert champion is not None
            yield champion

    @pytest.fixture
    def standing(self, place: Place, champion: Revision) -> tuple[RolloutTarget, Revision]:
        """A challenger without traffic that a test leaves where it is."""
        assert champion
        place.standing = place.standing or place.good()
        target = serve(place, place.standing)
        target.set_traffic(0)
        return target, place.standing

    @pytest.fixture
    def challenger(self, place: Place, champion: Revision) -> Iterator[Revision]:
        """A revision that was never started; no other is the challenger."""
        assert champion
        place.target().rollback()
        yield place.good()
        place.target().rollback()

    def test_a_challenger_has_no_traffic_until_it_is_given_some(
        self, champion: Revision, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, challenger = standing
        before = answered(target, champion), answered(target, challenger)
        assert target.send(TEXTS) == len(TEXTS)
        assert (answered(target, champion), answered(target, challenger)) == (before[0] + len(TEXTS), before[1])
        assert target.champion() == champion

    def test_all_traffic_goes_where_it_is_sent_at_once(
        self, champion: Revision, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, challenger = standing
        for percent, gets, gets_none in ((100, challenger, champion), (0, champion, challenger)):
            before = answered(target, gets), answered(target, gets_none)
            target.set_traffic(percent)
            target.send(TEXTS)
            assert (answered(target, gets), answered(target, gets_none)) == (before[0] + len(TEXTS), before[1])

    def test_to_deploy_again_changes_neither_share_nor_counts(
        self, champion: Revision, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, challenger = standing
        target.set_traffic(100)
        before = answered(target, champion), answered(target, challenger)
        target.send(TEXTS)
        target.deploy(challenger)
        target.wait_ready(challenger, READY_S)
        target.send(TEXTS)
        assert (answered(target, champion), answered(target, challenger)) == (before[0], before[1] + 2 * len(TEXTS))

    def test_latencies_are_those_of_good_answers(
        self, champion: Revision, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, _ = standing
        target.send(TEXTS)
        counts = target.observe()[champion.version]
        assert counts.errors == 0
        assert counts.latencies.total == counts.requests >= len(TEXTS)

    def test_both_are_asked_directly_in_the_order_of_the_texts_and_it_counts_for_neither(
        self, champion: Revision, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, challenger = standing
        before = answered(target, champion), answered(target, challenger)
        pairs = target.compare(TEXTS[:4])
        assert len(pairs) == 4
        assert all(pair.champion is not None and pair.champion == pair.challenger for pair in pairs)
        assert (answered(target, champion), answered(target, challenger)) == before

    def test_pairs_of_the_shadow_have_keys_and_come_once(self, standing: tuple[RolloutTarget, Revision]) -> None:
        target, _ = standing
        target.shadow(100)
        target.send(TEXTS[:4])
        pairs: list[Pair] = []
        end = time.monotonic() + 30
        while not pairs and time.monotonic() < end:
            pairs = list(target.shadow_pairs(TEXTS[:4]))
        assert pairs
        assert len({pair.key for pair in pairs} - {""}) == len(pairs) <= 4
        assert all(pair.champion == pair.challenger is not None for pair in pairs)
        target.shadow(0)

    def test_it_says_whether_clients_stay_with_their_revision(self, standing: tuple[RolloutTarget, Revision]) -> None:
        target, _ = standing
        assert target.stick("x-user") in (True, False)
        assert target.stick("")
        target.set_traffic(100)
        assert target.send(TEXTS) == len(TEXTS)

    def test_the_state_of_a_driver_is_found_by_the_next(
        self, place: Place, standing: tuple[RolloutTarget, Revision]
    ) -> None:
        target, _ = standing
        for state in ({"phase": "traffic", "looks": [1, 2]}, {"phase": "Wörter"}):
            target.save_state(state)
            assert place.target().load_state() == target.load_state() == state
        target.save_state(None)
        assert place.target().load_state() is target.load_state() is None

    def test_another_driver_goes_on_and_promotes_and_again_changes_nothing(
        self, place: Place, champion: Revision, challenger: Revision
    ) -> None:
        serve(place, challenger).set_traffic(100)
        other = serve(place, challenger)
        assert other.champion() == champion
        before = answered(other, challenger)
        assert other.send(TEXTS) == len(TEXTS)
        assert answered(other, challenger) == before + len(TEXTS)
        for driver in (other, other, place.target()):
            driver.promote()
            assert driver.champion() == challenger
            assert driver.send(TEXTS) == len(TEXTS)

    @pytest.mark.parametrize("ready", [True, False])
    def test_a_roll_back_gives_all_traffic_back_however_often_and_from_wherever(
        self, place: Place, champion: Revision, challenger: Revision, ready: bool
    ) -> None:
        target = place.target()
        target.deploy(challenger)
        if ready:
            target.wait_ready(challenger, READY_S)
            target.set_traffic(100)
        for driver in (target, target, place.target()):
            driver.rollback()
            assert driver.champion() == champion
            assert driver.send(TEXTS) == len(TEXTS)

    @pytest.mark.usefixtures("challenger")
    def test_a_revision_that_cannot_be_served_fails_and_harms_nobody(self, place: Place, champion: Revision) -> None:
        broken, target = place.broken(), place.target()
        with pytest.raises(RevisionFailed):
            serve(place, broken)
        assert target.send(TEXTS) == len(TEXTS)
        target.rollback()
        assert target.champion() == champion

    @pytest.mark.usefixtures("champion")
    def test_one_driver_at_a_time_holds_the_model(self, place: Place) -> None:
        with pytest.raises(SlipwayError, match="process|pid|held"), place.target().lock():
            raise AssertionError("two drivers")
