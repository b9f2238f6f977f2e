"""What a driver keeps, counts and tells of its rollout, without a driver."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout.aliases import RegistryAliases
from slipway.components.rollout.analysis.evidence import PairCounts
from slipway.components.rollout.counter_resets import Tally
from slipway.components.rollout.evidence_source import Gatherer, counts_of
from slipway.components.rollout.probes import Probes, probes_of, text_key
from slipway.components.rollout.rollout_progress import progress_of, read_progress
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import TIMELINE, Decision, Point, RolloutState, from_json, to_json
from slipway.components.rollout.target import Counts, Pair, Revision, RolloutTarget, histogram
from tests.components.present import present
from tests.components.rollout.test_rollout_analysis import counts, measured

OLD, NEW = Revision("1", "/bundles/1", "sha256:1"), Revision("2", "/bundles/2", "sha256:2")


def point(seconds: float, harm: float | None = 0.1, percent: int = 10) -> Point:
    return Point(
        seconds, "traffic", percent, 7, 60, 40, {"errors": (harm, -0.1, 0.2)}, "hold",
        {"errors": (0.02, 0.03)}, {"errors": "go on"},
    )  # fmt: skip


def rolling(**changes: Any) -> RolloutState:
    """In traffic, with 40 requests to the champion and 10 to the challenger."""
    tallies = {"1": Tally().updated(counts(40)), "2": Tally().updated(counts(10, errors=1))}
    current = RolloutState(NEW, OLD, "traffic", tallies=tallies, evidence=measured(), at_start=(4, 30))
    return replace(current, **changes)


def test_requests_are_told_apart_by_version_step_and_who_sent_them() -> None:
    current = rolling(probes=15)
    assert current.requests == (10, 40)
    assert current.step_requests == 6
    assert current.clients == 35
    assert rolling(probes=60).clients == 0
    assert current.counts(None) == current.counts(Revision("9", "", "")) == Counts()


@pytest.mark.parametrize(
    ("decision", "champion", "by_hand"),
    [(None, NEW, True), (None, OLD, False), (None, None, False), (Decision("promoted", ""), NEW, False)],
)
def test_who_serves_without_a_decision_was_promoted_by_hand(
    decision: Decision | None, champion: Revision | None, by_hand: bool
) -> None:
    assert rolling(decision=decision).promoted_by_hand(champion) is by_hand


def test_a_step_is_made_ready_once_and_counts_from_there() -> None:
    current = rolling(step=1, begun=0, settled=True)
    current.begin_step(25)
    assert (current.begun, current.settled) == (1, False)
    assert [counted.requests for counted in current.at_block] == [40, 10]
    assert [split.percent for split in current.evidence.splits] == [25]
    before = current.evidence
    current.begin_step(25)
    assert current.evidence is before


@pytest.mark.parametrize("sticky", [False, True])
def test_a_block_is_what_came_since_the_last_one_and_the_first_of_a_step_says_nothing_of_the_split(
    sticky: bool,
) -> None:
    current = rolling(sticky=sticky)
    current.begin_step(25)
    for total in (10, 30):
        current.tallies["1"] = current.tallies["1"].updated(counts(40 + 3 * total))
        current.tallies["2"] = current.tallies["2"].updated(counts(10 + total, errors=1))
        current.take_block(25)
        assert current.fresh
    assert present(current.evidence.errors).sums.tolist() == [90, 0, 30, 0]
    assert [(s.old, s.new) for s in current.evidence.splits] == ([] if sticky else [(60, 20)])
    assert [counted.requests for counted in current.at_block] == [130, 40]


@pytest.mark.parametrize(
    ("old", "new", "percent", "fresh"),
    [(1, 1, 50, True), (0, 1, 50, False), (1, 0, 50, False), (0, 1, 100, True), (1, 0, 100, False), (0, 0, 100, False)],
)
def test_a_look_is_fresh_when_both_answered_that_have_traffic(old: int, new: int, percent: int, fresh: bool) -> None:
    current = rolling()
    current.begin_step(percent)
    current.tallies["1"] = current.tallies["1"].updated(counts(40 + old))
    current.tallies["2"] = current.tallies["2"].updated(counts(10 + new, errors=1))
    current.take_block(percent)
    assert current.fresh is fresh


def test_a_long_timeline_keeps_its_first_and_last_points_and_every_second_between() -> None:
    current = rolling()
    for seconds in range(TIMELINE + 1):
        current.note(point(float(seconds)))
    kept = [each.seconds for each in current.timeline]
    assert kept == [float(seconds) for seconds in [*range(0, TIMELINE, 2), TIMELINE]]
    current.note(point(1e6))
    assert len(current.timeline) == len(kept) + 1


def test_what_is_kept_comes_back_and_something_else_is_told() -> None:
    current = rolling(timeline=[point(1.0)], decision=Decision("held", "why"), seen=["a"], margins={"errors": 0.05})
    assert json.loads(json.dumps(to_json(current))) == to_json(from_json(to_json(current))) == to_json(current)
    with pytest.raises(BadInput, match=r"the kept state of a rollout cannot be read \(.*\); `slipway rollback` ends"):
        from_json({"revision": 3})


@pytest.mark.parametrize("phase", ["baseline", "compare", "shadow", "traffic"])
@pytest.mark.parametrize("outcome", ["promoted", "rolled_back", "held"])
def test_a_driver_that_takes_over_finds_the_phase_and_the_decision(phase: str, outcome: Any) -> None:
    document = to_json(rolling(phase=phase, decision=Decision(outcome, "why")))
    found = from_json(json.loads(json.dumps(document)))
    assert (found.phase, present(found.decision).outcome) == (phase, outcome)


def test_the_progress_says_where_a_rollout_stands() -> None:
    current = rolling(
        timeline=[point(1.0, None, 0), point(2.0, 0.3), point(3.04)],
        elapsed_s=3.14, copied=9, margins={"errors": 0.05}, decision=Decision("rolled_back", "it is worse"),
    )  # fmt: skip
    current.evidence = replace(current.evidence, pairs=PairCounts(labelled=31))
    assert progress_of(current).model_dump() == {
        "version": "2", "phase": "traffic", "percent": 10, "requests": 10, "texts": 31, "copies": 9, "seconds": 3.1,
        "verdict": "hold", "decision": "it is worse",
        "evidence": [{
            "metric": "errors", "champion": 0.02, "challenger": 0.03, "harm": 0.1, "lower": -0.1, "upper": 0.2,
            "margin": 0.05, "verdict": "go on", "course": [0.3, 0.1],
        }],
    }  # fmt: skip
    assert progress_of(replace(current, margins={})).evidence[0].margin == 1.0
    begun = progress_of(RolloutState(NEW, OLD))
    assert (begun.percent, begun.verdict, begun.decision, begun.evidence) == (0, None, None, [])
    assert (begun.phase, begun.requests, begun.seconds) == ("baseline", 0, 0.0)


@pytest.mark.parametrize("document", [{"format": 99}, {"revision": 3}], ids=["later", "damaged"])
def test_a_state_that_cannot_be_read_is_a_problem_and_hides_nothing_else(document: dict[str, Any]) -> None:
    problems = ["another"]
    assert read_progress(document, problems) is None
    assert len(problems) == 2
    assert "the kept state of a rollout" in problems[1]
    assert read_progress(None, problems) is None
    assert len(problems) == 2


def test_probes_are_distinct_in_an_order_of_their_own_and_go_round() -> None:
    texts = [f"text {number}" for number in range(5)]
    probes = Probes([*texts, "text 0"], [*"abcde", "z"])
    assert len(probes) == 5
    order = probes.replay(0, 5)
    assert sorted(order) == texts
    assert order == sorted(texts, key=text_key)
    assert probes.replay(3, 4) == [*order[3:], *order[:2]]
    assert text_key("text 0") in probes
    assert text_key("text 9") not in probes
    fresh = probes.unseen({text_key(order[0]), text_key(order[2])}, 2)
    assert [probe.text for probe in fresh] == [order[1], order[3]]
    assert {probe.text: probe.label for probe in probes.unseen(set(), 9)} == dict(zip(texts, "abcde", strict=True))
    with pytest.raises(BadInput, match="a rollout needs labelled texts to probe with, got 0"):
        Probes([], [])
    with pytest.raises(ValueError, match="shorter"):
        Probes(["text"], [])
    assert text_key("text 0") == "822beb0d1729878a"


def test_probes_are_those_of_the_test_split_with_their_names(small_dataset: TextDataset) -> None:
    found = {probe.text: probe.label for probe in probes_of(small_dataset).unseen(set(), 1000)}
    names = [small_dataset.labels[index] for index in small_dataset.label_ids("test")]
    assert found == dict(zip(small_dataset.texts("test"), names, strict=True))


def test_copies_are_counted_for_each_side_by_its_own_answers_and_times() -> None:
    pairs = [
        Pair("a", "a", 5.0, 900.0),
        Pair("a", None, 5.0, None),
        Pair(None, "b", None, 5.0),
        Pair("a", "b", None, 5.0),
    ]
    old, new = counts_of(pairs)
    assert (old, new) == (Counts(4, 1, histogram([5.0, 5.0])), Counts(4, 1, histogram([900.0, 5.0, 5.0])))


class Traffic:
    """A target on which clients send so many requests a second to the champion, while time passes when told."""

    def __init__(self, rate: float) -> None:
        self.rate, self.clock, self.sent = rate, 0.0, 0

    def now(self) -> float:
        return self.clock

    def pause(self, seconds: float) -> None:
        self.clock += seconds

    def observe(self) -> dict[str, Counts]:
        return {"1": counts(round(self.clock * self.rate) + self.sent)}

    def send(self, texts: list[str]) -> int:
        self.sent += len(texts)
        return len(texts)

    def shadow_pairs(self, texts: list[str]) -> list[Pair]:
        return [
            *(Pair("a", "a", 1.0, 1.0, text_key(text)) for text in texts),
            *[Pair("a", "b", 1.0, 1.0, "client")] * 2,
        ]

    def gatherer(self, probes: Probes, settings: RolloutSettings) -> Gatherer:
        """Gathers from it; nothing else of a target is asked for."""
        return Gatherer(cast(RolloutTarget, self), probes, settings, self.now, self.pause)


@pytest.mark.parametrize(("rate", "source"), [(10.0, "client traffic"), (9.0, "probes"), (0.0, "probes")])
def test_clients_are_enough_when_they_bring_what_is_waited_for_in_a_quarter_of_the_time(
    rate: float, source: str
) -> None:
    settings, traffic = RolloutSettings(step_time_limit_s=40.0, poll_s=2.0, probe_batch=3), Traffic(rate)
    probes = Probes([f"text {number}" for number in range(5)], "abcde")
    gatherer = traffic.gatherer(probes, settings)
    current = RolloutState(NEW, OLD)
    for _ in range(3):
        assert gatherer.look(current, wanted=50, share=0.5) == source
    assert (gatherer.look(current, wanted=1, share=1.0) == "probes") is (rate == 0)
    assert current.probes == {10.0: 0, 9.0: 9, 0.0: 12}[rate]
    assert current.position == 12
    assert current.clients == round(traffic.clock * rate)
    assert (current.elapsed_s, current.spent_s) == (traffic.clock, traffic.clock)


def test_a_copy_of_a_clients_text_counts_once_for_agreement_and_always_for_whether_and_how_fast_it_was_answered() -> (
    None
):
    settings, traffic = RolloutSettings(poll_s=1.0, probe_batch=3), Traffic(0.0)
    probes = Probes([f"text {number}" for number in range(5)], "abcde")
    gatherer = traffic.gatherer(probes, settings)
    current = RolloutState(NEW, OLD, evidence=measured())
    for _ in range(2):
        gatherer.look_at_copies(current, wanted=50, share=0.25)
    assert current.copied == 10
    assert current.copies_seen == ["client"]
    assert current.evidence.copies == PairCounts(compared=1, disagreeing=1)
    assert present(current.evidence.errors).sums.tolist() == [10, 0, 10, 0]


class Registered:
    """A registry with a champion."""

    def __init__(self, champion: str | None) -> None:
        self.told: list[tuple[str, ...]] = []
        self._champion = Revision(champion, "", "") if champion else None

    def champion(self) -> Revision | None:
        return self._champion

    def nominate(self, version: str) -> None:
        self.told.append(("nominate", version))

    def promote(self, version: str) -> None:
        self.told.append(("promote", version))

    def reject(self, version: str, reason: str) -> None:
        self.told.append(("reject", version, reason))


@pytest.mark.parametrize(("champion", "rejected"), [(None, True), ("1", True), ("2", False)])
def test_decisions_are_written_and_a_champion_is_never_rejected(champion: str | None, rejected: bool) -> None:
    registry = Registered(champion)
    aliases = RegistryAliases(cast(Registry, registry))
    aliases.nominate("2")
    aliases.promote("2")
    aliases.reject("2", "why")
    told = [("nominate", "2"), ("promote", "2"), ("reject", "2", "why")]
    assert registry.told == (told if rejected else told[:2])
