"""What the terminal shows of a rollout that goes on."""

import io

from rich.console import Console

from slipway.components.rollout.live import course, evidence_table
from slipway.components.rollout.rollout_progress import progress_of
from slipway.components.rollout.state import from_json
from tests.components.present import present
from tests.components.rollout.world import Behaviour, NewWorld


def test_the_evidence_so_far_is_shown_by_metric(world: NewWorld, behaviour: type[Behaviour]) -> None:
    here = world(behaviour(wrong=0.06), max_accuracy_drop=0.07)
    assert here.run().outcome == "held"
    found = progress_of(from_json(present(here.target.load_state())))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(evidence_table(found.evidence))
    shown = console.export_text()
    assert "Wrong answers to the gate's test texts" in shown
    assert "undecided" in shown
    assert "+7.0" in shown
    assert [row.metric for row in found.evidence][:2] == ["errors", "slow"]


def test_a_course_is_empty_at_no_harm_and_full_at_twice_the_margin() -> None:
    assert course([-0.1, 0.0, 0.05, 0.1, 0.5], 0.05) == "▁▁▅██"
