"""A driver that is killed, at whatever call, and the one that goes on: together they come to the end of one alone."""

from typing import Any

import pytest

from tests.components.rollout.world import Behaviour, Killed, NewWorld

SCRIPTS: dict[str, dict[str, Any]] = {
    "promoted": {},
    "wrong": {"wrong": 0.5},
    "slow": {"latency_ms": 140.0},
    "refused": {"refuses": True},
    "crashing": {"crashes_after": 45},
    "turning bad": {"turns_bad_after": 30},
}


def moments(calls: list[str]) -> list[int]:
    """The first call of each kind among its neighbours, and the last three; a rollout repeats itself while it waits."""
    around = [tuple(calls[max(0, place - 2) : place + 3]) for place in range(len(calls))]
    return sorted({around.index(kind) for kind in around} | set(range(len(calls))[-3:]))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("first", [False, True], ids=["canary", "first"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_driver_killed_at_any_call_comes_to_the_same_end(
    world: NewWorld, behaviour: type[Behaviour], killed: type[Killed], script: dict[str, Any], first: bool, after: bool
) -> None:
    settings: dict[str, Any] = {"steps": "20,50", "minimum_requests": 20, "probe_batch": 100}
    whole = world(behaviour(**script), first=first, **settings)
    expected = whole.run().outcome
    for moment in moments(whole.calls):
        here = world(behaviour(**script), first=first, **settings)
        with pytest.raises(killed):
            here.run(kill_at=moment, after=after)
        result = here.run()
        finished = result.outcome == "already_champion" and expected == "promoted"
        assert finished or result.outcome == expected, whole.calls[moment]
        assert here.target.champion() == whole.target.champion()
        assert here.target.candidate is None
        assert here.target.kept is None
        assert here.aliases.champion == whole.aliases.champion
        assert here.aliases.challenger is None
        assert here.aliases.rejected.keys() == whole.aliases.rejected.keys()


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_drivers_that_die_one_after_the_other_come_to_the_same_end(
    world: NewWorld, behaviour: type[Behaviour], killed: type[Killed], script: dict[str, Any]
) -> None:
    expected = world(behaviour(**script)).run().outcome
    here = world(behaviour(**script))
    for life in range(100):
        try:
            result = here.run(kill_at=len(here.calls) + 6 + life, after=life % 2 == 0)
            break
        except killed:
            continue
    assert life > 1
    assert result.outcome in (expected, "already_champion")
    assert (here.aliases.champion == "2") is (expected == "promoted")
