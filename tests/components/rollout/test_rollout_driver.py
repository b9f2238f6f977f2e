"""What a driver does with revisions that behave well or badly, and with its own death."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.rollout import state
from slipway.components.rollout.analysis.readings import read
from slipway.components.rollout.driver import Driver
from slipway.components.rollout.target import Counts, Revision
from tests.components.present import present
from tests.components.rollout.world import Behaviour, Killed, NewWorld


def test_the_first_version_becomes_champion_when_it_answers(world: NewWorld) -> None:
    here = world(first=True)
    result = here.run()
    assert result.outcome == "promoted"
    assert here.served() == here.aliases.champion == "2"
    assert "first" in result.reason


def test_a_first_version_that_does_not_answer_is_not_served(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(failing=0.2), first=True)
    result = here.run()
    assert result.outcome == "rolled_back"
    assert here.target.champion() is None
    assert here.aliases.champion is None


def test_an_equal_challenger_is_promoted_after_all_steps(world: NewWorld) -> None:
    here = world()
    result = here.run()
    assert result.outcome == "promoted"
    assert here.served() == here.aliases.champion == result.serving == "2"
    assert [period.percent for period in result.periods] == [0, 0, 0, 10, 25, 50]
    assert here.target.kept is None


def test_a_promotion_is_backed_by_upper_bounds_below_every_margin(world: NewWorld) -> None:
    result = world().run()
    assert all(metric.upper <= metric.margin for metric in result.metrics.values())


def test_without_clients_probes_are_replayed_and_counted(world: NewWorld) -> None:
    result = world().run()
    assert result.requests.clients == 0
    assert result.requests.probes == result.requests.challenger + result.requests.champion > 0


def test_with_enough_clients_no_probe_is_replayed(world: NewWorld) -> None:
    here = world()
    here.target.clients_per_second = 200
    result = here.run()
    assert result.outcome == "promoted"
    assert result.requests.probes == 0
    assert result.requests.clients > 500


def test_probes_help_out_when_clients_are_few(world: NewWorld) -> None:
    here = world()
    here.target.clients_per_second = 4
    result = here.run()
    assert result.outcome == "promoted"
    assert result.requests.probes > 0
    assert result.requests.clients > 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"wrong": 0.5}, "wrong answers"),
        ({"failing": 0.6}, "failed to answer"),
        ({"latency_ms": 140.0}, "slow answers"),
        ({"refuses": True}, "BundleRefused"),
        ({"never_ready": True}, "not ready within"),
        ({"crashes_after": 3}, "out of memory"),
    ],
)
def test_a_bad_challenger_is_rolled_back_for_its_own_reason(
    world: NewWorld, behaviour: type[Behaviour], script: dict[str, Any], words: str
) -> None:
    here = world(behaviour(**script))
    result = here.run()
    assert result.outcome == "rolled_back"
    assert words in result.reason
    assert words in here.aliases.rejected["2"]
    assert here.served() == here.aliases.champion == "1"
    assert here.target.candidate is None
    assert here.target.percent == 0


@pytest.mark.parametrize("script", [{"wrong": 0.5}, {"failing": 0.6}, {"refuses": True}, {"never_ready": True}])
def test_clients_are_not_exposed_to_what_comparing_answers_shows(
    world: NewWorld, behaviour: type[Behaviour], script: dict[str, Any]
) -> None:
    here = world(behaviour(**script))
    here.run()
    assert here.target.max_percent == 0


def test_failures_of_live_requests_roll_back_in_the_first_step(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(failing=0.09), max_accuracy_drop=0.3)  # too few for the comparison of answers
    here.target.clients_per_second = 200
    result = here.run()
    assert result.outcome == "rolled_back"
    assert "errors" in result.reason
    assert here.target.client_errors <= 0.1 * result.requests.clients


def test_a_champion_that_is_as_bad_excuses_the_challenger(world: NewWorld, behaviour: type[Behaviour]) -> None:
    bad = behaviour(latency_ms=140.0)
    assert world(bad, old=bad).run().outcome == "promoted"


def test_without_a_verdict_the_rollout_is_held_and_goes_on_later(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07)
    result = here.run()
    assert result.outcome == "held"
    assert present(here.target.candidate).version == "2"
    assert here.aliases.challenger == "2"
    here.settings = here.settings.model_copy(update={"max_accuracy_drop": 0.3})
    assert here.run().outcome == "promoted"


def test_without_a_verdict_the_rollout_rolls_back_when_so_set(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07, on_inconclusive="roll_back")
    result = here.run()
    assert result.outcome == "rolled_back"
    assert "no verdict" in result.reason


def test_nothing_is_promoted_when_no_request_is_counted(world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(step_time_limit_s=5.0)
    monkeypatch.setattr(here.target, "observe", dict)
    assert here.run().outcome == "held"
    assert here.served() == "1"


def test_nothing_is_promoted_when_the_champion_answers_nothing(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(old=behaviour(failing=1.0), step_time_limit_s=5.0)
    assert here.run().outcome == "held"


def test_counters_that_start_again_lose_no_evidence(world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    here, sent = world(), 0

    deliver = here.target.send

    def send(texts: Sequence[str]) -> int:
        nonlocal sent
        sent += 1
        if sent == 8:  # the proxy restarted
            here.target.seen = {}
        return deliver(texts)

    monkeypatch.setattr(here.target, "send", send)
    result = here.run()
    assert result.outcome == "promoted"
    assert result.requests.challenger + result.requests.champion == result.requests.probes


def test_the_champion_is_not_rolled_out_again(world: NewWorld) -> None:
    here = world()
    here.run()
    calls = len(here.calls)
    assert here.run().outcome == "already_champion"
    assert not {"deploy", "set_traffic", "send"} & set(here.calls[calls:])


def test_two_drivers_never_drive_one_target(world: NewWorld) -> None:
    here = world()
    with here.target.lock(), pytest.raises(SlipwayError, match="process 7"):
        here.run()
    assert here.target.candidate is None


def test_a_later_version_ends_the_rollout_before_it(
    world: NewWorld, behaviour: type[Behaviour], third: Revision
) -> None:
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07)
    assert here.run().outcome == "held"
    result = here.run(third)
    assert result.outcome == "promoted"
    assert result.champion == "1"
    assert "version 3" in here.aliases.rejected["2"]


def test_a_damaged_state_is_reported(world: NewWorld) -> None:
    here = world()
    here.target.kept = json.dumps({"revision": 3})
    with pytest.raises(BadInput, match="kept state"):
        here.run()


@pytest.mark.parametrize(("script", "act", "which"), [({}, "promote", 0), ({"wrong": 0.5}, "rollback", -1)])
def test_a_kept_decision_is_carried_out_without_gathering_evidence_again(
    world: NewWorld, behaviour: type[Behaviour], killed: type[Killed], script: dict[str, Any], act: str, which: int
) -> None:
    whole = world(behaviour(**script))
    whole.run()
    moment = [index for index, name in enumerate(whole.calls) if name == act][which]
    here = world(behaviour(**script))
    with pytest.raises(killed):
        here.run(kill_at=moment)
    died = len(here.calls)
    here.run()
    assert not {"send", "compare"} & set(here.calls[died:])


def test_an_equal_challenger_passes_shadow_before_any_client_meets_it(world: NewWorld) -> None:
    here = world()
    result = here.run()
    assert here.calls.index("shadow_pairs") < here.calls.index("set_traffic")
    assert result.requests.copied >= here.settings.shadow_requests
    assert here.target.copying == 0


def test_every_request_of_a_step_is_evidence_once_and_none_before(world: NewWorld) -> None:
    here = world(shadow_requests=0)
    result = here.run()
    errors = result.metrics["errors"]
    assert present(errors.challenger).total == result.requests.challenger
    before = sum(period.champion_requests for period in result.periods if period.percent == 0)
    assert present(errors.champion).total == result.requests.champion - before


@pytest.mark.parametrize("later", [False, True])
def test_who_was_promoted_by_hand_unheard_of_by_the_registry_is_the_champion(
    world: NewWorld, third: Revision, later: bool
) -> None:
    here = world(max_accuracy_drop=0.001)
    assert here.run().outcome == "held"
    here.target.promote()  # then the registry was away
    challenger = present(here.target.serving)
    here.settings = here.settings.model_copy(update={"max_accuracy_drop": 0.2})
    result = here.run(third if later else challenger)
    assert result.outcome == ("promoted" if later else "already_champion")
    assert here.aliases.rejected == {}
    assert here.aliases.champion == ("3" if later else "2")
    assert here.target.kept is None


def test_without_shadow_nothing_is_copied(world: NewWorld) -> None:
    here = world(shadow_requests=0)
    assert here.run().outcome == "promoted"
    assert not {"shadow", "shadow_pairs"} & set(here.calls)


@pytest.mark.parametrize(
    ("script", "words"),
    [({"failing": 0.4, "labels_fail": False}, "errors"), ({"latency_ms": 140.0}, "slow answers")],
)
def test_shadow_spares_clients_what_it_shows(
    world: NewWorld, behaviour: type[Behaviour], script: dict[str, Any], words: str
) -> None:
    here = world(behaviour(**script), max_accuracy_drop=0.5)
    result = here.run()
    assert result.outcome == "rolled_back"
    assert words in result.reason
    assert here.target.max_percent == 0
    assert here.target.copying == 0


def test_other_answers_to_clients_than_the_champions_roll_back_in_shadow(
    world: NewWorld, behaviour: type[Behaviour]
) -> None:
    here = world(behaviour(wrong_for_clients=0.7), max_disagreement=0.5)
    here.target.clients_per_second = 200
    here.target.client_texts = lambda clock: [f"client {round(1000 * clock)} {number}" for number in range(10)]
    result = here.run()
    assert result.outcome == "rolled_back"
    assert "disagreement on clients' requests" in result.reason
    assert here.target.max_percent == 0


def test_copies_that_never_come_are_no_verdict(world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(step_time_limit_s=5.0)
    monkeypatch.setattr(here.target, "shadow_pairs", lambda texts: [])  # noqa: ARG005
    result = here.run()
    assert result.outcome == "held"
    assert "in shadow" in result.reason
    assert here.target.copying == here.target.max_percent == 0


@pytest.mark.parametrize("able", [True, False])
def test_clients_stay_with_a_version_where_the_target_can_do_it(world: NewWorld, able: bool) -> None:
    here = world(sticky_header="x-user", sticky_requests=2)
    here.target.can_stick = able
    result = here.run()
    assert result.outcome == "promoted"
    assert result.requests.sticky is able


@pytest.mark.parametrize("stuck", [False, True], ids=["zero", "stale"])
def test_counters_that_stop_in_the_last_step_promote_nothing(
    world: NewWorld, stuck: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=5.0)
    last: dict[str, Counts] = {}
    look = here.target.observe

    def observe() -> dict[str, Counts]:
        if here.target.percent < 50:
            last.update(look())
            return look()
        return dict(last) if stuck else {}

    monkeypatch.setattr(here.target, "observe", observe)
    assert here.run().outcome == "held"
    assert here.served() == "1"


@pytest.mark.parametrize(("jump_s", "outcome"), [(3600, "held"), (0.01, "promoted")])
def test_clocks_that_jump_promote_nothing_too_soon(world: NewWorld, jump_s: float, outcome: str) -> None:
    here, calls = world(), 0

    def now() -> float:  # now and then back
        nonlocal calls
        calls += 1
        return here.target.clock - jump_s * (calls % 5 == 0)

    driver = Driver(here.target, here.aliases, here.probes, here.settings, now, here.target.pause)
    result = driver.run(Revision("2", "/bundles/2", "sha256:2"))
    assert result.outcome == outcome
    assert result.seconds >= 0
    assert here.served() == ("2" if outcome == "promoted" else "1")
    shown = [metric.upper <= metric.margin for metric in result.metrics.values()]
    assert all(shown) is (outcome == "promoted")


def test_requests_that_go_elsewhere_than_asked_hold_the_rollout(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=20.0)
    here.target.clients_per_second = 400
    share = here.target.set_traffic
    monkeypatch.setattr(here.target, "set_traffic", lambda percent: share(percent // 5))
    result = here.run()
    assert result.outcome == "held"
    assert "not split as asked" in result.reason


def test_kept_evidence_gives_the_readings_that_it_gave(
    world: NewWorld, behaviour: type[Behaviour], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(behaviour(failing=0.02), max_accuracy_drop=0.3)
    kept: list[str] = []
    keep = here.target.save_state

    def save(plain: dict[str, Any] | None) -> None:
        kept.append(json.dumps(plain))
        keep(plain)

    monkeypatch.setattr(here.target, "save_state", save)
    here.run()
    points = [json.loads(plain) for plain in kept if plain != "null"]
    states = [state.from_json(plain) for plain in points]
    assert [state.to_json(current) for current in states] == points
    looks = [now for before, now in pairwise(states) if now.phase == "traffic" and now.timeline != before.timeline]
    assert len(looks) > 5
    for current in looks:
        readings = read(current.evidence, here.settings.alpha, here.settings.beta)
        told = {name: (reading.harm, reading.lower, reading.upper) for name, reading in readings.items()}
        assert current.timeline[-1].metrics == told
