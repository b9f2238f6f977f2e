"""A stranger without a key sends 98 of 100 requests, while every real one fails on the challenger: it is rolled back.

The real analysis, on the pages of metrics that the pods of two revisions show, from which a rollout on KServe decides.
"""

from prometheus_client.parser import text_string_to_metric_families

from slipway.components.rollout.analysis.evidence import Evidence, slow_limit
from slipway.components.rollout.analysis.verdict import Analysis, Rules, Stage, Verdict, analyse
from slipway.components.rollout.counter_resets import since
from slipway.components.rollout.kserve.pod_counters import counts_of
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Counts, Pair

LABELS = 'model_name="m",model_version="1",protocol="rest",method="infer"'
BOUNDS = ("0.01", "0.1", "0.2", "1", "+Inf")
RULES: Rules = RolloutSettings().rules()
REFUSALS = {"401": "stranger", "403": "client", "400": "client", "404": "client", "413": "client", "422": "client"}
REFUSALS |= {"429": "client"}


def page(answered: int, failed: int, refused: int, abandoned: int = 0, slow: bool = False) -> Counts:
    """What a pod's metrics say of so many requests; those that were answered took up to 100 ms, or up to a second."""
    endings = {"200": ("client", answered), "500": ("client", failed), "499": ("client", abandoned)}
    endings |= {code: (source, refused // len(REFUSALS)) for code, source in REFUSALS.items()}
    lines = [
        f'slipway_requests_total{{{LABELS},code="{code}",source="{source}"}} {count}'
        for code, (source, count) in endings.items()
    ]
    below = (0, *(2 * [0 if slow else answered]), answered, answered)
    lines += [
        f'slipway_request_duration_seconds_bucket{{{LABELS},source="client",le="{le}"}} {count}'
        for le, count in zip(BOUNDS, below, strict=True)
    ]
    lines.insert(0, "# TYPE slipway_requests_total counter")
    lines.insert(len(endings) + 1, "# TYPE slipway_request_duration_seconds histogram")
    return counts_of(text_string_to_metric_families("\n".join(lines) + "\n"))


def judged(champion: Counts, challenger: Counts, looks: int = 20, minimum: int = 20) -> Analysis:
    """The verdict of the first step after so many looks, each of which brought the counts of both once more."""
    evidence = Evidence().measured(champion, slow_limit(champion.latencies, 1.5, 20.0) or 20.0, RULES.margins, 1.0)
    evidence = evidence.with_pairs([(Pair("billing", "billing"), "billing")] * 400).at_new_step(50, by_chance=True)
    for _ in range(looks):
        evidence = evidence.with_block(champion, challenger).with_split(champion.requests, challenger.requests)
    return analyse(evidence, RULES, Stage(False, looks * challenger.requests, minimum))


def test_refusals_do_not_hide_that_every_real_request_fails() -> None:
    found = judged(page(answered=20, failed=0, refused=980), page(answered=0, failed=20, refused=980))
    assert found.verdict is Verdict.ROLL_BACK
    assert "requests to the challenger all failed" in found.reason
    assert "errors: challenger 400 of 400 (100%), champion 0 of 400 (0%)" in found.reason


def test_refusals_do_not_hide_that_every_real_answer_is_slow() -> None:
    found = judged(page(20, 0, 980), page(20, 0, 980, slow=True))
    assert found.verdict is Verdict.ROLL_BACK
    assert "slow answers" in found.reason


def test_refusals_are_no_requests_that_a_step_waits_for() -> None:
    found = judged(page(1, 0, 980), page(1, 0, 980), looks=5)
    assert found.verdict is Verdict.HOLD
    assert found.undecided == ("requests",)


def test_a_challenger_that_refuses_what_the_champion_answers_is_not_promoted() -> None:
    found = judged(page(20, 0, 0), page(0, 0, 20))
    assert found.verdict is Verdict.HOLD
    assert {"requests", "split"} <= set(found.undecided)


def test_abandoned_requests_are_neither_successes_nor_failures() -> None:
    counts = page(answered=20, failed=1, refused=70, abandoned=9)
    assert (counts.requests, counts.errors, counts.abandoned, counts.latencies.total) == (21, 1, 9, 20)
    later = page(answered=25, failed=1, refused=700, abandoned=19)
    assert since(later, counts).abandoned == 10
