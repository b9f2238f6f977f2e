"""What people can do with every served model: the promises of `ServedModel`, as tests.

A module that tests one has a class that inherits from `ServedModelContract`, and a fixture `place`.
"""

from typing import Protocol

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.served_model import ServedModel
from slipway.components.rollout.target import RolloutTarget
from tests.components.rollout.target_contract import READY_S


class ServedPlace(Protocol):
    """A place that can serve one model, and the registry of its versions."""

    registry: Registry

    def model(self) -> ServedModel:
        """The model as a command that has just started sees it."""
        ...

    def target(self) -> RolloutTarget:
        """The same for a driver."""
        ...

    def register(self) -> Version:
        """Register a bundle that works; nothing is said of it yet."""
        ...


class ServedModelContract:
    """The first test begins with a place that serves nothing, the others with a champion and without a challenger."""

    def test_what_was_never_served_is_told_as_such(self, place: ServedPlace) -> None:
        status = place.model().status()
        assert (status.served, status.healthy, status.champion) == (False, False, None)
        assert status.message
        for act in (place.model().promote, place.model().rollback, place.model().repair):
            with pytest.raises(SlipwayError):
                act()

    @pytest.fixture
    def champion(self, place: ServedPlace) -> Version:
        """The version that serves, with one before it."""
        if place.registry.champion() is None:
            target, first = place.target(), place.register()
            with target.lock():
                target.deploy(place.model().revision_of(first))
                target.wait_ready(place.model().revision_of(first), READY_S)
                target.promote()
            place.registry.promote(first.version)
        if place.registry.previous() is None:
            place.registry.nominate(place.register().version)
            place.model().promote()
        found = place.registry.champion()
        assert found is not None
        return found

    @pytest.fixture
    def held(self, place: ServedPlace, champion: Version) -> Version:
        """A version whose rollout was held with a third of the traffic."""
        assert champion
        challenger = place.register()
        place.registry.nominate(challenger.version)
        target, revision = place.target(), place.model().revision_of(challenger)
        with target.lock():
            target.deploy(revision)
            target.wait_ready(revision, READY_S)
            target.set_traffic(30)
        return challenger

    def serves(self, place: ServedPlace, version: Version) -> None:
        """See that status, clients and the registry agree on who serves alone."""
        status = place.model().status()
        assert (status.served, status.healthy) == (True, True), status.message
        assert status.champion is not None
        assert (status.champion.version, status.champion.digest) == (version.version, version.digest)
        assert (status.champion.percent, status.champion.running, status.champion.ready) == (100, True, True)
        assert status.challenger is None
        registered = place.registry.champion()
        assert registered is not None
        assert registered.version == version.version
        with place.model().client() as client:
            assert client.predict(["my parcel is late"]).model_version == version.version

    def test_the_registrys_challenger_is_promoted(self, place: ServedPlace, champion: Version) -> None:
        self.serves(place, champion)
        challenger = place.register()
        place.registry.nominate(challenger.version)
        message = place.model().promote()
        assert f"version {challenger.version} serves all traffic" in message
        assert f"in place of version {champion.version}" in message
        self.serves(place, challenger)

    def test_a_held_challenger_is_shown_and_promoted(
        self, place: ServedPlace, champion: Version, held: Version
    ) -> None:
        status = place.model().status()
        assert status.champion is not None
        assert status.challenger is not None
        assert (status.champion.version, status.champion.percent) == (champion.version, 70)
        assert (status.challenger.version, status.challenger.percent) == (held.version, 30)
        place.model().promote()
        self.serves(place, held)

    def test_a_held_challenger_is_rolled_back_and_rejected(
        self, place: ServedPlace, champion: Version, held: Version
    ) -> None:
        message = place.model().rollback()
        assert f"version {held.version} was rolled back; version {champion.version} serves all traffic" in message
        self.serves(place, champion)
        assert place.registry.version(held.version).tags["outcome"] == "rejected"

    def test_without_a_challenger_the_version_before_serves_again(self, place: ServedPlace, champion: Version) -> None:
        before = place.registry.previous()
        assert before is not None
        assert f"version {before.version} serves all traffic" in place.model().rollback()
        self.serves(place, before)
        now = place.registry.previous()
        assert now is not None
        assert now.version == champion.version

    @pytest.mark.usefixtures("champion")
    def test_without_a_challenger_nothing_is_promoted(self, place: ServedPlace) -> None:
        with pytest.raises(BadInput, match="there is no challenger"):
            place.model().promote()

    def test_a_registry_that_says_otherwise_is_repaired(self, place: ServedPlace, champion: Version) -> None:
        place.registry.promote(place.register().version)
        assert f"champion is version {champion.version}" in place.model().repair()
        self.serves(place, champion)
        assert "agrees" in place.model().repair()

    def test_nobody_interferes_with_a_driver_at_work(self, place: ServedPlace, champion: Version) -> None:
        place.registry.nominate(place.register().version)
        with place.target().lock():
            for act in (place.model().promote, place.model().rollback, place.model().repair):
                with pytest.raises(SlipwayError):
                    act()
        self.serves(place, champion)
