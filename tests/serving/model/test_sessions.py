"""How many sessions a server opens; what each of them computes is in `test_batcher`."""

import os
from pathlib import Path

import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.serving.model import sessions


@pytest.mark.parametrize(("together", "wide"), [(0.5, True), (0.95, False), (1.5, False)])
def test_a_second_session_is_kept_only_where_it_is_worth_its_memory(
    draft_bundle: Path, monkeypatch: pytest.MonkeyPatch, together: float, wide: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(sessions, "_milliseconds", lambda *_: [1.0, together])
    found = sessions.open_engine(Bundle(draft_bundle))
    assert (found.streams, found.wide is not None) == (2, wide)


def test_threads_that_are_asked_for_are_taken(draft_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    found = sessions.open_engine(Bundle(draft_bundle), threads=3)
    assert (found.streams, found.wide) == (2, None)


def test_both_sessions_are_timed(draft_bundle: Path) -> None:
    found = sessions.open_engine(Bundle(draft_bundle), threads=1)
    assert min(sessions._milliseconds(found.classifier, found.classifier)) > 0
