"""What a driver does with revisions that behave well or badly, and with its own death."""

import json

import pytest

from components.errors import BadInput, SlipwayError


def test_the_first_version_becomes_champion_when_it_answers(world):
    here = world(first=True)
    result = here.run()
    assert result["outcome"] == "promoted"
    assert here.target.champion().version == here.aliases.champion == "2"
    assert "first" in result["reason"]


def test_a_first_version_that_does_not_answer_is_not_served(world, behaviour):
    here = world(behaviour(failing=0.2), first=True)
    result = here.run()
    assert result["outcome"] == "rolled_back"
    assert here.target.champion() is None
    assert here.aliases.champion is None


def test_an_equal_challenger_is_promoted_after_all_steps(world):
    here = world()
    result = here.run()
    assert result["outcome"] == "promoted"
    assert here.target.champion().version == here.aliases.champion == result["serving"] == "2"
    assert [period["percent"] for period in result["periods"]] == [0, 0, 0, 10, 25, 50]
    assert here.target.kept is None


def test_a_promotion_is_backed_by_upper_bounds_below_every_margin(world):
    result = world().run()
    assert all(metric["upper"] <= metric["margin"] for metric in result["metrics"].values())


def test_without_clients_probes_are_replayed_and_counted(world):
    result = world().run()
    assert result["requests"]["clients"] == 0
    assert result["requests"]["probes"] == result["requests"]["challenger"] + result["requests"]["champion"] > 0


def test_with_enough_clients_no_probe_is_replayed(world):
    here = world()
    here.target.clients_per_second = 200
    result = here.run()
    assert result["outcome"] == "promoted"
    assert result["requests"]["probes"] == 0
    assert result["requests"]["clients"] > 500


def test_probes_help_out_when_clients_are_few(world):
    here = world()
    here.target.clients_per_second = 4
    result = here.run()
    assert result["outcome"] == "promoted"
    assert result["requests"]["probes"] > 0
    assert result["requests"]["clients"] > 0


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
def test_a_bad_challenger_is_rolled_back_for_its_own_reason(world, behaviour, script, words):
    here = world(behaviour(**script))
    result = here.run()
    assert result["outcome"] == "rolled_back"
    assert words in result["reason"]
    assert words in here.aliases.rejected["2"]
    assert here.target.champion().version == here.aliases.champion == "1"
    assert here.target.candidate is None
    assert here.target.percent == 0


@pytest.mark.parametrize("script", [{"wrong": 0.5}, {"failing": 0.6}, {"refuses": True}, {"never_ready": True}])
def test_clients_are_not_exposed_to_what_comparing_answers_shows(world, behaviour, script):
    here = world(behaviour(**script))
    here.run()
    assert here.target.max_percent == 0


def test_failures_of_live_requests_roll_back_in_the_first_step(world, behaviour):
    here = world(behaviour(failing=0.09), max_accuracy_drop=0.3)  # too few for the comparison of answers
    here.target.clients_per_second = 200
    result = here.run()
    assert result["outcome"] == "rolled_back"
    assert "errors" in result["reason"]
    assert here.target.client_errors <= 0.1 * result["requests"]["clients"]


def test_a_champion_that_is_as_bad_excuses_the_challenger(world, behaviour):
    bad = behaviour(latency_ms=140.0)
    assert world(bad, old=bad).run()["outcome"] == "promoted"


def test_without_a_verdict_the_rollout_is_held_and_goes_on_later(world, behaviour):
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07)
    result = here.run()
    assert result["outcome"] == "held"
    assert here.target.candidate.version == "2"
    assert here.aliases.challenger == "2"
    here.settings = here.settings.model_copy(update={"max_accuracy_drop": 0.3})
    assert here.run()["outcome"] == "promoted"


def test_without_a_verdict_the_rollout_rolls_back_when_so_set(world, behaviour):
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07, on_inconclusive="roll_back")
    result = here.run()
    assert result["outcome"] == "rolled_back"
    assert "no verdict" in result["reason"]


def test_nothing_is_promoted_when_no_request_is_counted(world):
    here = world(step_time_limit_s=5.0)
    here.target.observe = dict
    assert here.run()["outcome"] == "held"
    assert here.target.champion().version == "1"


def test_nothing_is_promoted_when_the_champion_answers_nothing(world, behaviour):
    here = world(old=behaviour(failing=1.0), step_time_limit_s=5.0)
    assert here.run()["outcome"] == "held"


def test_counters_that_start_again_lose_no_evidence(world):
    here, sent = world(), 0

    def send(texts, send=here.target.send):
        nonlocal sent
        sent += 1
        if sent == 8:  # the proxy restarted
            here.target.seen = {}
        return send(texts)

    here.target.send = send
    result = here.run()
    assert result["outcome"] == "promoted"
    assert result["requests"]["challenger"] + result["requests"]["champion"] == result["requests"]["probes"]


def test_the_champion_is_not_rolled_out_again(world):
    here = world()
    here.run()
    calls = len(here.calls)
    assert here.run()["outcome"] == "already_champion"
    assert not {"deploy", "set_traffic", "send"} & set(here.calls[calls:])


def test_two_drivers_never_drive_one_target(world):
    here = world()
    with here.target.lock(), pytest.raises(SlipwayError, match="process 7"):
        here.run()
    assert here.target.candidate is None


def test_a_later_version_ends_the_rollout_before_it(world, behaviour, third):
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07)
    assert here.run()["outcome"] == "held"
    result = here.run(third)
    assert result["outcome"] == "promoted"
    assert result["champion"] == "1"
    assert "version 3" in here.aliases.rejected["2"]


def test_a_damaged_state_is_reported(world):
    here = world()
    here.target.kept = json.dumps({"revision": 3})
    with pytest.raises(BadInput, match="kept state"):
        here.run()


@pytest.mark.parametrize(("script", "act", "which"), [({}, "promote", 0), ({"wrong": 0.5}, "rollback", -1)])
def test_a_kept_decision_is_carried_out_without_gathering_evidence_again(world, behaviour, killed, script, act, which):
    whole = world(behaviour(**script))
    whole.run()
    moment = [index for index, name in enumerate(whole.calls) if name == act][which]
    here = world(behaviour(**script))
    with pytest.raises(killed):
        here.run(kill_at=moment)
    died = len(here.calls)
    here.run()
    assert not {"send", "compare"} & set(here.calls[died:])


SCRIPTS = {
    "promoted": {},
    "wrong": {"wrong": 0.5},
    "slow": {"latency_ms": 140.0},
    "refused": {"refuses": True},
    "crashing": {"crashes_after": 45},
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("first", [False, True], ids=["canary", "first"])
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_driver_killed_at_any_call_comes_to_the_same_end(world, behaviour, killed, script, first, after):
    settings = {"steps": "20,50", "minimum_requests": 20, "probe_batch": 100}
    whole = world(behaviour(**script), first=first, **settings)
    expected = whole.run()["outcome"]
    for moment in range(len(whole.calls)):
        here = world(behaviour(**script), first=first, **settings)
        with pytest.raises(killed):
            here.run(kill_at=moment, after=after)
        result = here.run()
        finished = result["outcome"] == "already_champion" and expected == "promoted"
        assert finished or result["outcome"] == expected, whole.calls[moment]
        assert here.target.champion() == whole.target.champion()
        assert here.target.candidate is None
        assert here.target.kept is None
        assert here.aliases.champion == whole.aliases.champion
        assert here.aliases.challenger is None
        assert here.aliases.rejected.keys() == whole.aliases.rejected.keys()
