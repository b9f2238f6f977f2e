"""What every place must do in which a rollout can happen: the promises of the protocol `RolloutTarget`, as tests.

A module that tests a place has a class that inherits from `TargetContract`, and a fixture `place`.
"""

import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from slipway.components.errors import RevisionFailed, SlipwayError
from slipway.components.rollout.target import Pair, Revision, RolloutTarget

TEXTS = [f"my parcel is late {number}" for number in range(20)]
READY_S = 120.0


class Place(Protocol):
    """A place with one model; what a driver and its tests need of it."""

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


def requests(target: RolloutTarget) -> dict[str, int]:
    """Requests that each version answered so far."""
    return {version: counts.requests for version, counts in target.observe().items()}


class TargetContract:
    """Each test begins with a champion and without a challenger, and may leave another champion behind."""

    @pytest.fixture
    def champion(self, place: Place) -> Iterator[Revision]:
        target = place.target()
        with target.lock():
            if target.champion() is None:
                serve(place, place.good()).promote()
            champion = place.target().champion()
            assert champion is not None
            yield champion
            place.target().rollback()

    def test_a_challenger_has_no_traffic_until_it_is_given_some(self, place: Place, champion: Revision) -> None:
        challenger = place.good()
        target = serve(place, challenger)
        sent = target.send(TEXTS)
        assert sent == len(TEXTS)
        counted = requests(target)
        assert (counted[champion.version], counted.get(challenger.version, 0)) == (sent, 0)
        assert target.champion() == champion

    def test_all_traffic_goes_where_it_is_sent_at_once(self, place: Place, champion: Revision) -> None:
        challenger = place.good()
        target = serve(place, challenger)
        target.set_traffic(100)
        target.send(TEXTS)
        assert (requests(target).get(champion.version, 0), requests(target)[challenger.version]) == (0, len(TEXTS))
        target.set_traffic(0)
        target.send(TEXTS)
        assert (requests(target)[champion.version], requests(target)[challenger.version]) == (len(TEXTS), len(TEXTS))

    def test_to_deploy_again_changes_neither_share_nor_counts(self, place: Place, champion: Revision) -> None:
        challenger = place.good()
        target = serve(place, challenger)
        target.set_traffic(100)
        target.send(TEXTS)
        target.deploy(challenger)
        target.wait_ready(challenger, READY_S)
        target.send(TEXTS)
        counted = requests(target)
        assert (counted.get(champion.version, 0), counted[challenger.version]) == (0, 2 * len(TEXTS))

    def test_latencies_are_those_of_good_answers(self, place: Place, champion: Revision) -> None:
        target = serve(place, place.good())
        target.send(TEXTS)
        counts = target.observe()[champion.version]
        assert counts.errors == 0
        assert counts.latencies.total == len(TEXTS)

    @pytest.mark.usefixtures("champion")
    def test_both_are_asked_directly_in_the_order_of_the_texts_and_it_counts_for_neither(self, place: Place) -> None:
        target = serve(place, place.good())
        pairs = target.compare(TEXTS[:4])
        assert len(pairs) == 4
        assert all(pair.champion is not None and pair.champion == pair.challenger for pair in pairs)
        assert sum(requests(target).values()) == 0

    @pytest.mark.usefixtures("champion")
    def test_pairs_of_the_shadow_have_keys_and_come_once(self, place: Place) -> None:
        target = serve(place, place.good())
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

    def test_a_promoted_challenger_serves_alone_and_again_changes_nothing(
        self, place: Place, champion: Revision
    ) -> None:
        challenger = place.good()
        target = serve(place, challenger)
        target.promote()
        assert target.champion() == challenger != champion
        assert target.send(TEXTS) == len(TEXTS)
        for again in (target, place.target()):
            again.promote()
            assert again.champion() == challenger
            assert again.send(TEXTS) == len(TEXTS)

    def test_another_driver_goes_on_with_what_the_first_began(self, place: Place, champion: Revision) -> None:
        challenger = place.good()
        serve(place, challenger).set_traffic(100)
        other = place.target()
        assert other.champion() == champion
        other.deploy(challenger)
        other.wait_ready(challenger, READY_S)
        assert other.send(TEXTS) == len(TEXTS)
        assert requests(other)[challenger.version] == len(TEXTS)
        other.promote()
        assert place.target().champion() == challenger

    @pytest.mark.parametrize("percent", [0, 100])
    def test_a_roll_back_gives_all_traffic_back_however_often(
        self, place: Place, champion: Revision, percent: int
    ) -> None:
        target = serve(place, place.good())
        target.set_traffic(percent)
        for again in (target, target, place.target()):
            again.rollback()
            assert again.champion() == champion
            assert again.send(TEXTS) == len(TEXTS)

    def test_what_never_became_ready_is_rolled_back(self, place: Place, champion: Revision) -> None:
        target = place.target()
        target.deploy(place.good())
        target.rollback()
        assert place.target().champion() == champion
        assert target.send(TEXTS) == len(TEXTS)

    def test_a_revision_that_cannot_be_served_fails_and_harms_nobody(self, place: Place, champion: Revision) -> None:
        broken, target = place.broken(), place.target()
        with pytest.raises(RevisionFailed):
            serve(place, broken)
        assert target.send(TEXTS) == len(TEXTS)
        target.rollback()
        assert target.champion() == champion

    @pytest.mark.usefixtures("champion")
    def test_the_state_of_a_driver_is_found_by_the_next(self, place: Place) -> None:
        target = serve(place, place.good())
        for state in ({"phase": "traffic", "looks": [1, 2]}, {"phase": "Wörter"}):
            target.save_state(state)
            assert place.target().load_state() == target.load_state() == state
        target.save_state(None)
        assert place.target().load_state() is target.load_state() is None

    @pytest.mark.usefixtures("champion")
    def test_one_driver_at_a_time_holds_the_model(self, place: Place) -> None:
        with pytest.raises(SlipwayError, match="process|pid|held"), place.target().lock():
            raise AssertionError("two drivers")

    @pytest.mark.usefixtures("champion")
    def test_it_says_whether_clients_stay_with_their_revision(self, place: Place) -> None:
        target = serve(place, place.good())
        assert target.stick("x-user") in (True, False)
        assert target.stick("")
        target.set_traffic(100)
        assert target.send(TEXTS) == len(TEXTS)
