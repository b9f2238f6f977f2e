"""How long each step lasts at least, who watches afterwards, and what is left when nobody does."""

from typing import Any

import pytest

from slipway.components.errors import RevisionFailed
from slipway.components.rollout.rollout_progress import progress_of
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision
from tests.components.present import present
from tests.components.rollout.world import Behaviour, NewWorld, World, shares_given

BUSY = 200.0
"""Requests of clients per second: the evidence of a step is there in a few seconds."""


def busy(here: World) -> World:
    """The world with many clients."""
    here.target.clients_per_second = BUSY
    return here


def changed_at_full_share(here: World, then: Behaviour) -> World:
    """The world with a challenger that behaves so under all traffic, and as usual under less."""
    share = here.target.set_traffic

    def set_traffic(percent: int) -> None:
        share(percent)
        here.target.behaviours["2"] = then if percent == 100 else Behaviour()

    here.target.set_traffic = set_traffic  # type: ignore[method-assign]
    return here


def test_each_step_and_the_watch_last_as_long_as_is_asked_however_many_requests_come(world: NewWorld) -> None:
    result = busy(world(bake_s=40.0, poll_s=4.0)).run()
    assert result.outcome == "promoted", result.reason
    steps = [period for period in result.periods if period.percent]
    assert [period.percent for period in steps] == [10, 25, 50, 100]
    assert all(40.0 <= period.ended_s - period.started_s < 45.0 for period in steps)


def test_while_a_step_without_clients_waits_for_its_time_probes_trickle(world: NewWorld) -> None:
    result = world(bake_s=40.0, poll_s=2.0, steps="50").run()
    assert result.outcome == "promoted", result.reason
    assert result.requests.probes < 35 * result.seconds


def test_a_challenger_that_turns_bad_while_its_step_waits_is_rolled_back(
    world: NewWorld, behaviour: type[Behaviour]
) -> None:
    here = busy(world(behaviour(turns_bad_after=500), bake_s=60.0))
    result = here.run()
    assert result.outcome == "rolled_back"
    assert here.target.max_percent == 10
    assert here.target.percent == 0


def test_a_challenger_that_fails_under_all_traffic_only_is_rolled_back_by_the_watch(world: NewWorld) -> None:
    here = busy(world(bake_s=30.0, poll_s=2.0, steps="50"))
    result = changed_at_full_share(here, Behaviour(failing=0.2)).run()
    assert result.outcome == "rolled_back"
    assert "errors with all traffic" in result.reason
    assert (here.served(), here.target.percent, here.target.max_percent) == ("1", 0, 100)


def test_a_challenger_that_is_slow_under_all_traffic_only_is_rolled_back_by_the_watch(world: NewWorld) -> None:
    here = busy(world(bake_s=90.0, poll_s=5.0, steps="50"))
    result = changed_at_full_share(here, Behaviour(latency_ms=60.0)).run()
    assert result.outcome == "rolled_back"
    assert "slow answers with all traffic" in result.reason


@pytest.mark.parametrize("old", [4.8, 60.0])
def test_a_challenger_five_times_slower_is_rolled_back_however_fast_the_champion_is(
    world: NewWorld, behaviour: type[Behaviour], old: float
) -> None:
    here = world(behaviour(latency_ms=5 * old), old=behaviour(latency_ms=old), bake_s=30.0)
    here.settings = RolloutSettings()
    result = busy(here).run()
    assert result.outcome == "rolled_back", result.reason
    assert "slow answers" in result.reason
    assert here.target.max_percent < 50


def test_a_challenger_that_is_a_little_slower_is_not(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(latency_ms=5.9), old=behaviour(latency_ms=4.8))
    again = here.run()
    assert again.outcome == "promoted", again.reason


@pytest.mark.parametrize(("better", "worse"), [(0.45, 0.05)])
def test_a_challenger_that_is_right_where_the_champion_was_wrong_is_promoted(
    world: NewWorld, behaviour: type[Behaviour], better: float, worse: float
) -> None:
    result = world(behaviour(wrong=worse), old=behaviour(wrong=better)).run()
    assert result.outcome == "promoted", result.reason
    assert present(result.metrics["disagreement"].harm) > 0.3
    assert result.metrics["disagreement"].words.endswith("for information")


def undecided(world: NewWorld, **settings: Any) -> World:
    """A world with many clients whose rollout is held in its last step."""
    return busy(world(step_time_limit_s=6.0, max_slow_rise=0.001, shadow_requests=0, **settings))


def test_a_held_challenger_gets_no_traffic_and_goes_on_at_its_step(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = undecided(world)
    shares = shares_given(monkeypatch, here.target, "set_traffic")
    held = here.run()
    assert held.outcome == "held"
    assert shares == [10, 25, 50, 0]
    assert (here.target.percent, present(here.target.candidate).version) == (0, "2")
    kept = here.kept()
    assert (kept.paused, progress_of(kept).percent) == (True, 0)
    here.target.pause(1000.0)  # clients of this time meet the champion alone: no evidence, and no wrong split
    here.settings = here.settings.model_copy(update={"max_slow_rise": 0.15})
    result = here.run()
    assert result.outcome == "promoted", result.reason
    assert shares == [10, 25, 50, 0, 50]
    errors = result.metrics["errors"]
    assert present(errors.champion).total < result.requests.champion - 900 * BUSY
    assert [period.percent for period in result.periods if period.percent] == [10, 25, 50, 50]


def test_a_watch_without_counts_is_held_and_begins_again_at_the_step_that_decides(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = busy(world(step_time_limit_s=6.0, bake_s=3.0, shadow_requests=0))
    shares = shares_given(monkeypatch, here.target, "set_traffic")
    look = here.target.observe
    monkeypatch.setattr(here.target, "observe", lambda: look() if here.target.percent < 100 else {})
    assert here.run().outcome == "held"
    assert shares == [10, 25, 50, 100, 0]
    monkeypatch.setattr(here.target, "observe", look)
    again = here.run()
    assert again.outcome == "promoted", again.reason
    assert shares == [10, 25, 50, 100, 0, 50, 100]


def test_a_challenger_that_ended_when_it_is_held_is_rolled_back(world: NewWorld) -> None:
    here = undecided(world)
    share = here.target.set_traffic

    def set_traffic(percent: int) -> None:
        if percent == 0:
            raise RevisionFailed("out of memory")
        share(percent)

    here.target.set_traffic = set_traffic  # type: ignore[method-assign]
    result = here.run()
    assert (result.outcome, result.reason) == ("rolled_back", "out of memory")
    assert here.target.candidate is None


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_a_driver_that_is_told_to_end_takes_the_challenger_out_of_traffic_and_another_goes_on(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException]
) -> None:
    here = busy(world(bake_s=6.0, poll_s=2.0))
    look = here.target.observe

    def interrupted() -> Any:
        if here.target.percent == 25:
            raise ending
        return look()

    monkeypatch.setattr(here.target, "observe", interrupted)
    with pytest.raises(ending):
        here.run()
    assert (here.target.percent, present(here.target.candidate).version) == (0, "2")
    assert here.kept().paused
    monkeypatch.setattr(here.target, "observe", look)
    shares = shares_given(monkeypatch, here.target, "set_traffic")
    again = here.run()
    assert again.outcome == "promoted", again.reason
    assert shares == [25, 50, 100]


@pytest.mark.parametrize(
    ("steps", "bake_s", "shares", "deciding"),
    [
        ("10,50", 5.0, [10, 50, 100], 1),
        ("10,50,100", 5.0, [10, 50, 100], 1),
        ("10,50", 0.0, [10, 50], 1),
        ("10,50,100", 0.0, [10, 50, 100], 1),
        ("100", 0.0, [100], 0),
    ],
)
def test_the_last_step_in_which_both_answer_decides(
    steps: str, bake_s: float, shares: list[int], deciding: int
) -> None:
    settings = RolloutSettings(steps=steps, bake_s=bake_s)
    assert (settings.shares, settings.deciding) == (shares, deciding)


def test_minutes_are_waited_for_on_a_cluster_and_what_is_asked_for_everywhere() -> None:
    auto, asked = RolloutSettings(), RolloutSettings(bake_s=7)
    assert [auto.on(target).least_time_s for target in ("local", "kubernetes")] == [30.0, 300.0]
    assert [asked.on(target).least_time_s for target in ("local", "kubernetes")] == [7.0, 7.0]
    assert [RolloutSettings(bake_s=bake_s).window_s for bake_s in (0.0, 6.0, 30.0, 300.0)] == [0.0, 2.0, 10.0, 10.0]
    with pytest.raises(ValueError, match="bake_s is -1; expected auto, or seconds from 0 to 86400"):
        RolloutSettings(bake_s=-1)


def test_a_first_version_is_not_waited_for(world: NewWorld) -> None:
    here = world(first=True, bake_s=300.0)
    assert here.run(Revision("2", "/bundles/2", "sha256:2")).outcome == "promoted"
    assert here.target.clock < 60
