"""Drives a rollout for the step `rollout`: starts the challenger, runs the phases and carries out the decision.

The driver saves its state after every look at the evidence. It saves a decision before it carries the decision out, and
each of its acts is idempotent. So a driver that is killed at any moment and started again comes to the same end.
"""

import contextlib
import time
from collections.abc import Callable

from slipway.components.errors import RevisionFailed
from slipway.components.rollout import state
from slipway.components.rollout.aliases import Aliases
from slipway.components.rollout.evidence_source import Gatherer
from slipway.components.rollout.phases import STEP, Phases
from slipway.components.rollout.probes import Probes
from slipway.components.rollout.result import RolloutResult
from slipway.components.rollout.result_of_state import already_champion, result_of
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import Decision, RolloutState
from slipway.components.rollout.target import Revision, RolloutTarget
from slipway.components.step_runtime import progress


class Driver:
    """Drives a rollout on a target.

    Args:
        target: where the model is served.
        aliases: the registry's aliases. They change after the target has carried out the decision.
        probes: labelled texts.
        settings: how to roll out.
        now: returns a monotonic time, in seconds.
        pause: sleeps for a number of seconds.
        floor: macro-F1 on the probes that a first version must reach.
    """

    def __init__(
        self,
        target: RolloutTarget,
        aliases: Aliases,
        probes: Probes,
        settings: RolloutSettings,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        floor: float = 0.0,
    ) -> None:
        self.target, self.aliases, self.probes, self.settings = target, aliases, probes, settings
        self._gatherer = Gatherer(target, probes, settings, now, pause)
        self._phases = Phases(target, probes, settings, self._gatherer, floor)

    def run(self, revision: Revision) -> RolloutResult:
        """Roll `revision` out, or continue its rollout.

        Raises:
            SlipwayError: another driver holds the target, or the target cannot be used. Another run continues.
        """
        with self.target.lock():
            current = self._saved_rollout(revision)
            if current is None:
                if self.target.champion() == revision:
                    self.aliases.promote(revision.version)
                    return already_champion(revision)
                self.aliases.nominate(revision.version)
                self.target.rollback()  # removes a challenger that has no saved state
                current = RolloutState(revision, self.target.champion())
            current.margins = self.settings.rules().margins
            try:
                self._deploy(current)
                decision = current.decision or self._phases.decide(current)
            except RevisionFailed as error:
                decision = Decision("rolled_back", str(error))
            except (KeyboardInterrupt, SystemExit):
                self._leave(current)
                raise
            return self._finish(current, decision)

    def _leave(self, current: RolloutState) -> None:
        """Give the champion all traffic before this process ends: nobody would watch the challenger any more.

        Another run goes on at the same step. Whatever fails here must not hide that the process was told to end.
        """
        if current.phase != "traffic" or current.decision is not None:
            return
        with contextlib.suppress(Exception):
            current.pause(min(current.step, self.settings.deciding))
            self._save(current)
            self.target.set_traffic(0)

    def _saved_rollout(self, revision: Revision) -> RolloutState | None:
        """Return the saved state of this rollout, or None. End the rollout of another version first."""
        document = self.target.load_state()
        if document is None:
            return None
        saved = state.from_json(document)
        if saved.promoted_by_hand(self.target.champion()):
            self.aliases.promote(saved.revision.version)
            self.target.save_state(None)
            return None
        if saved.revision == revision:
            saved.resumed, saved.spent_s = saved.resumed + 1, 0.0
            return saved
        superseded = f"version {revision.version} was rolled out before a decision was reached"
        self._carry_out(saved, saved.decision or Decision("rolled_back", superseded))
        return None

    def _deploy(self, current: RolloutState) -> None:
        """Start the challenger, unless it is rolled back already or has become the champion."""
        decided = current.decision is not None and current.decision.outcome == "rolled_back"
        if decided or self.target.champion() == current.revision:
            return
        self._save(current)
        progress.report(STEP, f"starting version {current.revision.version}")
        self.target.deploy(current.revision)
        self.target.wait_ready(current.revision, self.settings.ready_timeout_s)
        current.sticky = self.target.stick(self.settings.sticky_header) and bool(self.settings.sticky_header)
        if self.settings.sticky_header and not current.sticky:
            progress.report(STEP, "this target cannot assign clients by a header: each request goes by chance")
        self._gatherer.tick(current)

    def _finish(self, current: RolloutState, decision: Decision) -> RolloutResult:
        """Save the decision, then carry it out. A rollout that is held keeps its state."""
        if current.decision is None and current.champion is not None and not current.paused:
            current.close_period(self.settings.shares[current.step] if current.phase == "traffic" else 0)
        if decision.outcome == "held":
            self._save(current)
        else:
            current.decision = decision
            self._save(current)
            if decision.outcome == "rolled_back" and current.phase == "traffic":
                self._last_look(current)
            decision = self._carry_out(current, decision)
        progress.report(STEP, f"{decision.outcome.replace('_', ' ')}: {decision.reason}")
        return result_of(current, decision, self.settings)

    def _last_look(self, current: RolloutState) -> None:
        """Take the challenger out of traffic, then count the requests that it answered until then."""
        with contextlib.suppress(RevisionFailed):  # a challenger that crashed is rolled back all the same
            self.target.set_traffic(0)
            self._gatherer.observe(current)

    def _carry_out(self, current: RolloutState, decision: Decision) -> Decision:
        """Move the traffic, then the aliases, then delete the saved state.

        The order matters. The registry never names a champion that does not serve yet. A driver that is killed in
        between still finds the saved decision, and repeats the acts that are missing.
        """
        version = current.revision.version
        if decision.outcome == "promoted":
            try:
                self.target.promote()
            except RevisionFailed as error:
                decision = current.decision = Decision("rolled_back", str(error))
                self._save(current)
            else:
                self.aliases.promote(version)
        if decision.outcome == "rolled_back":
            self.target.rollback()
            self.aliases.reject(version, decision.reason)
        self.target.save_state(None)
        return decision

    def _save(self, current: RolloutState) -> None:
        self.target.save_state(state.to_json(current))
