"""The driver of a rollout: starts the challenger, takes it through the phases, carries the decision out.

The state is kept after every look. A decision is kept before it is carried out, and each act is idempotent, so
a driver that is killed at any moment and started again comes to the same end.
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
        aliases: the registry, which learns the decision after the target carried it out.
        probes: labelled texts.
        settings: how to roll out.
        now: seconds that only grow.
        pause: waits for so many seconds.
    """

    def __init__(
        self,
        target: RolloutTarget,
        aliases: Aliases,
        probes: Probes,
        settings: RolloutSettings,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target, self.aliases, self.probes, self.settings = target, aliases, probes, settings
        self._gatherer = Gatherer(target, probes, settings, now, pause)
        self._phases = Phases(target, probes, settings, self._gatherer)

    def run(self, revision: Revision) -> RolloutResult:
        """Roll `revision` out, or go on with its rollout.

        Raises:
            SlipwayError: another driver holds the target, or the target cannot be used; to run again goes on.
        """
        with self.target.lock():
            current = self._kept(revision)
            if current is None:
                if self.target.champion() == revision:
                    self.aliases.promote(revision.version)
                    return already_champion(revision)
                self.aliases.nominate(revision.version)
                self.target.rollback()  # a challenger whose rollout left no state
                current = RolloutState(revision, self.target.champion())
            current.margins = self.settings.rules().margins
            try:
                self._deploy(current)
                decision = current.decision or self._phases.decide(current)
            except RevisionFailed as error:
                decision = Decision("rolled_back", str(error))
            return self._finish(current, decision)

    def _kept(self, revision: Revision) -> RolloutState | None:
        """The state of this rollout, if it began before; another version's rollout is ended first."""
        plain = self.target.load_state()
        if plain is None:
            return None
        kept = state.from_json(plain)
        if kept.promoted_by_hand(self.target.champion()):
            self.aliases.promote(kept.revision.version)
            self.target.save_state(None)
            return None
        if kept.revision == revision:
            kept.resumed, kept.spent_s = kept.resumed + 1, 0.0
            return kept
        superseded = f"version {revision.version} was rolled out before a decision was reached"
        self._carry_out(kept, kept.decision or Decision("rolled_back", superseded))
        return None

    def _deploy(self, current: RolloutState) -> None:
        """Start the challenger, unless the rollout is past the need for it."""
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
        """Keep the decision, then carry it out."""
        if current.decision is None and current.champion is not None:
            current.close_period(self.settings.percents[current.step] if current.phase == "traffic" else 0)
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
        """Take the challenger out of traffic and count what it did until then."""
        with contextlib.suppress(RevisionFailed):
            self.target.set_traffic(0)
            self._gatherer.observe(current)

    def _carry_out(self, current: RolloutState, decision: Decision) -> Decision:
        """Move the traffic, then the aliases, then forget the rollout; in this order always."""
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
