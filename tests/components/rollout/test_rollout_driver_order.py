"""In which order a driver acts, what it cleans up, and how long each phase may take."""

from typing import Any

import pytest

from slipway.components.errors import RevisionFailed
from slipway.components.rollout.analysis.evidence import Evidence
from slipway.components.rollout.counter_resets import Tally
from slipway.components.rollout.state import RolloutState, from_json
from slipway.components.rollout.target import Counts, Revision
from tests.components.present import present
from tests.components.rollout.world import Behaviour, Killed, NewWorld, World, shares_given

ACTS = ("deploy", "set_traffic", "promote", "rollback", "save_state")
DECISIONS = ("nominate", "promote", "reject")


def acts_of(here: World) -> list[str]:
    """Lets the world note in which order the target and the registry are told; `save_state None` forgets a rollout."""
    told: list[str] = []

    def noting(owner: str, inner: Any, name: str) -> None:
        act = getattr(inner, name)

        def noted(*arguments: Any) -> Any:
            what = f"{owner} {name}"
            if name == "save_state":
                what += " None" if arguments[0] is None else " decision" if arguments[0]["decision"] else ""
            result = act(*arguments)
            told.append(what)
            return result

        setattr(inner, name, noted)

    for name in ACTS:
        noting("target", here.target, name)
    for name in DECISIONS:
        noting("aliases", here.aliases, name)
    return told


def in_order(told: list[str], *acts: str) -> bool:
    """Whether the last of each kind came in this order."""
    last = [max(index for index, what in enumerate(told) if what == act) for act in acts]
    return last == sorted(last)


def test_a_promotion_is_kept_then_moves_the_traffic_then_the_aliases_and_is_forgotten_last(world: NewWorld) -> None:
    here = world()
    told = acts_of(here)
    assert here.run().outcome == "promoted"
    assert in_order(told, "target save_state decision", "target promote", "aliases promote", "target save_state None")
    assert told.index("aliases nominate") < told.index("target save_state") < told.index("target deploy")


def test_a_rollback_is_kept_then_moves_the_traffic_then_the_aliases_and_is_forgotten_last(
    world: NewWorld, behaviour: type[Behaviour]
) -> None:
    here = world(behaviour(wrong=0.5))
    told = acts_of(here)
    assert here.run().outcome == "rolled_back"
    assert in_order(told, "target save_state decision", "target rollback", "aliases reject", "target save_state None")


@pytest.mark.parametrize("act", ["promote", "rollback"])
def test_aliases_stay_when_the_traffic_cannot_be_moved(world: NewWorld, behaviour: type[Behaviour], act: str) -> None:
    here = world(behaviour(wrong=0.5 if act == "rollback" else 0.0))
    calls = 0

    move = getattr(here.target, act)

    def fails() -> object:
        nonlocal calls
        calls += 1
        if act == "rollback" and calls == 1:  # the one that clears the way for the challenger
            return move()
        raise OSError("the proxy is gone")

    setattr(here.target, act, fails)
    with pytest.raises(OSError, match="the proxy is gone"):
        here.run()
    assert (here.aliases.champion, here.aliases.challenger, here.aliases.rejected) == ("1", "2", {})
    assert here.kept().decision is not None


def test_a_challenger_that_fails_while_it_is_promoted_is_rolled_back_for_its_reason(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world()

    def promote() -> None:
        raise RevisionFailed("the model server of version 2 ended")

    monkeypatch.setattr(here.target, "promote", promote)
    result = here.run()
    assert (result.outcome, result.serving) == ("rolled_back", "1")
    assert here.aliases.rejected == {"2": "the model server of version 2 ended"}
    assert here.aliases.champion == "1"
    assert here.target.candidate is None
    assert here.target.kept is None


def test_a_challenger_that_nobody_knows_of_makes_way(world: NewWorld, third: Revision) -> None:
    here = world()
    here.target.candidate, here.target.percent = third, 10  # its driver died before it kept a state
    assert here.run().outcome == "promoted"
    assert here.served() == "2"


def test_a_rolled_back_challenger_is_counted_until_its_traffic_ends_and_not_after(
    world: NewWorld, behaviour: type[Behaviour], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(behaviour(failing=0.09), max_accuracy_drop=0.3)
    here.target.clients_per_second = 200
    shares = shares_given(monkeypatch, here.target, "set_traffic")
    told = acts_of(here)
    result = here.run()
    assert result.outcome == "rolled_back"
    assert shares == [10, 0]
    assert result.requests.challenger == here.target.seen["2"].requests
    moved = len(told) - 1 - told[::-1].index("target set_traffic")
    assert moved > told.index("target save_state decision")


def test_each_phase_and_step_has_the_whole_time(world: NewWorld) -> None:
    here = world(step_time_limit_s=9.0, shadow_requests=0, steps="10,20,30,40,50", minimum_requests=60)
    here.target.clients_per_second = 160
    result = here.run()
    took = [period.ended_s - period.started_s for period in result.periods]
    assert result.outcome == "promoted", result.reason
    assert max(took) < 9.0 < sum(took)


def test_a_rollout_whose_driver_was_killed_has_the_whole_time_again(
    world: NewWorld, killed: type[Killed], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=5.0, max_slow_rise=0.001, shadow_requests=0, steps="50")
    save = here.target.save_state

    def dying(plain: dict[str, Any] | None) -> None:
        save(plain)
        if plain and plain["phase"] == "traffic" and plain["spent_s"] > 4.0:
            raise killed

    monkeypatch.setattr(here.target, "save_state", dying)
    with pytest.raises(killed):
        here.run()
    monkeypatch.setattr(here.target, "save_state", save)
    spent = here.kept().elapsed_s
    again = here.run()
    assert (again.outcome, again.resumed) == ("held", 1)
    assert again.seconds - spent > 4.5


def test_the_periods_of_a_rollout_are_kept_when_it_is_held_and_closed_once(
    world: NewWorld, killed: type[Killed], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=5.0, max_slow_rise=0.001)
    result = here.run()
    kept = here.kept().periods
    assert [period.name for period in kept] == [period.name for period in result.periods]
    assert kept[-1].percent == 50
    here = world(steps="50")
    promote = here.target.promote

    def dying() -> None:
        raise killed

    monkeypatch.setattr(here.target, "promote", dying)
    with pytest.raises(killed):
        here.run()
    monkeypatch.setattr(here.target, "promote", promote)
    decided = here.kept()
    assert decided.decision is not None
    assert [period.name for period in here.run().periods] == [period.name for period in decided.periods]


def test_a_step_that_has_no_verdict_is_held_soon_after_its_time(world: NewWorld) -> None:
    result = world(step_time_limit_s=5.0, max_slow_rise=0.001).run()
    assert result.outcome == "held"
    last = result.timeline[-1]
    before = [point.seconds for point in result.timeline if point.percent < last.percent]
    assert 5.0 < last.seconds - before[-1] < 7.0


def test_a_closed_period_starts_the_next_with_nothing_spent() -> None:
    old, new = Revision("1", "/1", "sha256:1"), Revision("2", "/2", "sha256:2")
    current = RolloutState(new, old, "traffic", elapsed_s=20.0, spent_s=12.0, period_started_s=8.0, at_start=(5, 50))
    current.tallies = {"1": Tally().updated(Counts(90)), "2": Tally().updated(Counts(15))}
    current.close_period(10)
    assert (current.spent_s, current.period_started_s, current.at_start) == (0.0, 20.0, (15, 90))
    assert current.step_requests == 0
    (period,) = current.periods
    assert (period.name, period.percent, period.started_s, period.ended_s) == ("traffic", 10, 8.0, 20.0)
    assert (period.requests, period.champion_requests) == (10, 40)


@pytest.mark.parametrize(("header", "able", "least"), [("", True, 1.0), ("x-user", True, 30.4), ("x-user", False, 1.0)])
def test_requests_of_sticky_clients_count_less_from_the_start(
    world: NewWorld,
    header: str,
    able: bool,
    least: float,
    killed: type[Killed],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = world(sticky_header=header, sticky_requests=50)
    here.target.can_stick = able
    found: list[Evidence] = []

    def save(plain: dict[str, Any]) -> None:
        found.append(from_json(plain).evidence)
        if found[-1].errors:
            raise killed

    monkeypatch.setattr(here.target, "save_state", save)
    with pytest.raises(killed):
        here.run()
    assert ("cannot assign clients by a header" in capsys.readouterr().err) is (bool(header) and not able)
    errors, slow = present(found[-1].errors), present(found[-1].slow)
    assert (errors.least, slow.least) == pytest.approx((least, least))
    assert errors.design_effect == pytest.approx(least)


def test_a_first_version_that_fails_on_one_of_its_probes_is_not_served(
    world: NewWorld, behaviour: type[Behaviour]
) -> None:
    assert world(behaviour(failing=1 / 240), first=True).run().outcome == "rolled_back"
