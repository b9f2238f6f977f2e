"""What each phase asks for, when it gives up, and what it says then."""

from collections.abc import Sequence
from typing import Any

import pytest

from slipway.components.rollout.evidence_source import Gatherer
from slipway.components.rollout.state import RolloutState
from slipway.components.rollout.target import Counts, Pair, histogram
from tests.components.present import present
from tests.components.rollout.world import Behaviour, Killed, NewWorld, World, shares_given


def held(here: World, **settings: Any) -> str:
    """The reason why a rollout is held."""
    here.settings = here.settings.model_copy(update=settings)
    result = here.run()
    assert result.outcome == "held"
    return result.reason


def test_a_baseline_that_does_not_come_is_told_with_its_numbers(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=5.0)
    monkeypatch.setattr(here.target, "observe", lambda: {"1": Counts(30, 0, histogram([5.0] * 30))})
    assert held(here) == "no verdict: the champion answered only 30 of 100 baseline requests"
    assert here.target.max_percent == 0


def test_labelled_texts_that_do_not_decide_are_told_with_their_number(
    world: NewWorld, behaviour: type[Behaviour]
) -> None:
    here = world(behaviour(wrong=0.06))
    reason = held(here, max_accuracy_drop=0.07)
    assert reason.startswith("no verdict: all 240 labelled texts were compared: wrong answers: challenger ")
    assert here.calls.count("compare") == 6  # forty at a time


@pytest.mark.parametrize("copies", [0, 3])
def test_a_shadow_without_enough_copies_is_told_with_their_number(
    world: NewWorld, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(step_time_limit_s=5.0)
    pairs = [Pair("billing", "billing", 5.0, 5.0, f"client {number}") for number in range(copies)]
    monkeypatch.setattr(here.target, "shadow_pairs", lambda _: [pairs.pop()] if pairs else [])
    assert held(here) == f"no verdict: in shadow, within 5 s: only {copies} of 60 copies were answered"
    assert here.target.copying == here.target.max_percent == 0


def test_a_shadow_that_does_not_decide_says_what_was_seen(world: NewWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    here, asked = world(step_time_limit_s=5.0), 0

    def pairs(_: Sequence[str]) -> list[Pair]:
        nonlocal asked
        asked += 1
        labels = ["billing", "delivery", "billing", "billing"] * 5
        return [Pair("billing", label, 5.0, 5.0, f"client {asked} {number}") for number, label in enumerate(labels)]

    monkeypatch.setattr(here.target, "shadow_pairs", pairs)
    reason = held(here, max_disagreement=0.25, shadow_requests=20)
    assert reason.startswith("no verdict: in shadow, within 5 s: disagreement on clients' requests: challenger ")


def test_a_shadow_ends_with_the_asked_number_of_copies_and_its_part_of_traffic(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(shadow_requests=45, shadow_percent=50, probe_batch=20)
    shares = shares_given(monkeypatch, here.target, "shadow")
    result = here.run()
    assert result.outcome == "promoted"
    assert shares == [50, 0]
    assert result.requests.copied == here.target.shadowed == 50  # ten at a time


@pytest.mark.parametrize(
    ("rate", "settings"),
    [(24, {"shadow_requests": 0, "steps": "10"}), (14, {"steps": "50"})],
    ids=["in a tenth of them", "in their copies"],
)
def test_probes_help_out_where_a_phase_finds_too_few_of_the_clients_requests(
    world: NewWorld, rate: float, settings: dict[str, Any]
) -> None:
    here = world(**settings, step_time_limit_s=60.0)
    here.target.clients_per_second = rate
    assert here.run().requests.probes > 0


def test_each_phase_waits_for_its_requests_out_of_its_share_of_all(
    world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, set[tuple[int, float]]] = {}

    def note(name: str) -> None:
        look = getattr(Gatherer, name)

        def noted(gatherer: Gatherer, state: RolloutState, wanted: int, share: float) -> str:
            asked.setdefault(f"{state.phase}: {name}", set()).add((wanted, share))
            return str(look(gatherer, state, wanted, share))

        monkeypatch.setattr(Gatherer, name, noted)

    note("look")
    note("look_at_copies")
    here = world(steps="10,40", shadow_percent=25, shadow_requests=45, minimum_requests=30, baseline_requests=80)
    assert here.run().outcome == "promoted"
    assert asked == {
        "baseline: look": {(80, 1.0)},
        "shadow: look_at_copies": {(45, 0.25)},
        "traffic: look": {(30, 0.1), (160, 0.4)},
    }


def test_a_step_without_a_verdict_is_told_with_its_share_and_time(world: NewWorld) -> None:
    reason = held(world(step_time_limit_s=6.0), max_slow_rise=0.001)
    assert reason.startswith("no verdict: no verdict within 6 s at 50% of traffic: slow answers: challenger 0 of ")


@pytest.mark.parametrize(("floor", "outcome"), [(0.79, "promoted"), (0.81, "rolled_back")])
def test_a_first_version_must_reach_the_gates_floor_on_the_probes(
    world: NewWorld, behaviour: type[Behaviour], floor: float, outcome: str
) -> None:
    result = world(behaviour(wrong=0.2), first=True, floor=floor).run()
    assert result.outcome == outcome, result.reason
    assert result.reason.endswith(f"192 of them as labelled (macro-F1 0.800, the gate's floor is {floor:.3f})")


def test_a_first_version_is_told_how_many_probes_it_answered(world: NewWorld, behaviour: type[Behaviour]) -> None:
    good = world(behaviour(wrong=0.5), first=True).run()
    assert good.reason == (
        "version 2 is the first to be served here: it answered 240 of 240 texts of the test split, 120 of them as "
        "labelled (macro-F1 0.500, the gate's floor is 0.000)"
    )
    assert (good.outcome, good.champion, good.serving, good.metrics) == ("promoted", None, "2", {})
    bad = world(behaviour(failing=0.1), first=True).run()
    assert bad.outcome == "rolled_back"
    assert "version 2 is the first to be served here, but it answered 35 of 40 texts" in bad.reason


def test_every_look_is_on_the_timeline_with_its_share_and_its_numbers(world: NewWorld) -> None:
    here = world(steps="20,40", shadow_requests=20)
    result = here.run()
    assert sorted({(point.phase, point.percent) for point in result.timeline}) == [
        ("compare", 0), ("shadow", 0), ("traffic", 20), ("traffic", 40),
    ]  # fmt: skip
    last = result.timeline[-1]
    assert (last.requests, last.champion_requests) == (
        result.requests.challenger,
        result.requests.champion,
    )
    assert last.texts == result.compared.labelled
    assert last.seconds == pytest.approx(result.seconds, abs=0.1)
    for name, metric in result.metrics.items():
        assert last.metrics[name] == (metric.harm, metric.lower, metric.upper)
        sides = [arm and arm.rate for arm in (metric.champion, metric.challenger)]
        assert last.rates[name] == tuple(sides)
        assert last.verdicts[name] == metric.verdict == "go on"
    assert last.verdict == "go on"
    minimum = [period.requests for period in result.periods if period.percent]
    assert min(minimum) >= here.settings.minimum_requests
    assert [(period.name, period.percent) for period in result.periods] == [
        ("baseline", 0), ("compare", 0), ("shadow", 0), ("traffic", 20), ("traffic", 40),
    ]  # fmt: skip


def test_what_is_slow_is_measured_of_the_champion_alone(world: NewWorld, behaviour: type[Behaviour]) -> None:
    result = world(old=behaviour(latency_ms=60.0), new=behaviour(latency_ms=60.0), slow_factor=1.5).run()
    assert result.outcome == "promoted"
    assert result.slow_ms == 1.5 * present(result.baseline_p95_ms)
    assert world(slow_floor_ms=40.0).run().slow_ms == 40.0


def test_a_rollout_goes_on_at_its_step_or_at_the_last_when_there_are_fewer(
    world: NewWorld, killed: type[Killed], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(steps="10,20,30,40", shadow_requests=0)
    shares: list[int] = []
    route = here.target.set_traffic

    def traffic(percent: int) -> None:
        shares.append(percent)
        route(percent)
        if percent == 30 and len(shares) == 3:
            raise killed

    monkeypatch.setattr(here.target, "set_traffic", traffic)
    with pytest.raises(killed):
        here.run()
    here.settings = here.settings.model_copy(update={"steps": "15,25"})
    assert here.run().outcome == "promoted"
    assert shares == [10, 20, 30, 25]
