"""The driver of a rollout: gathers evidence, asks the analysis, moves traffic, carries the decision out.

    first version     it must answer some probes; then it becomes champion, since there is nothing to compare with
    baseline          the champion alone: what is slow?
    compare           both are asked the labelled texts directly; no client is exposed
    traffic           the challenger gets a growing share of live traffic
    decided           promote or roll back, then move the registry's aliases

The state is kept after every look. A decision is kept before it is carried out, and each act is idempotent, so
a driver that is killed at any moment and started again comes to the same end.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from components import progress
from components.errors import RevisionFailed
from components.rollout import results, state, words
from components.rollout.aliases import Aliases
from components.rollout.analysis.evidence import slow_limit
from components.rollout.analysis.verdict import Analysis, Stage, Verdict, analyse
from components.rollout.gathering import Gatherer
from components.rollout.probes import Probes, text_key
from components.rollout.settings import RolloutSettings
from components.rollout.state import Decision, Outcome, Phase, Point, RolloutState
from components.rollout.target import Revision, RolloutTarget

STEP = "rollout"
FIRST_PROBES = 20
PAIRED_METRICS = ("disagreement", "accuracy")
"""Decided by comparing texts, before clients are exposed."""


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

    def run(self, revision: Revision) -> dict[str, Any]:
        """Roll `revision` out, or go on with its rollout; returns the result (`components.rollout.results`).

        Raises:
            SlipwayError: another driver holds the target, or the target cannot be used; to run again goes on.
        """
        with self.target.lock():
            current = self._kept(revision)
            if current is None:
                if self.target.champion() == revision:
                    self.aliases.promote(revision.version)
                    return results.already_champion(revision)
                self.aliases.nominate(revision.version)
                self.target.rollback()  # a challenger whose rollout left no state
                current = RolloutState(revision, self.target.champion())
            try:
                self._deploy(current)
                decision = current.decision or self._decide(current)
            except RevisionFailed as error:
                decision = Decision("rolled_back", str(error))
            return self._finish(current, decision)

    def _kept(self, revision: Revision) -> RolloutState | None:
        """The state of this rollout, if it began before; another version's rollout is ended first."""
        plain = self.target.load_state()
        if plain is None:
            return None
        kept = state.from_json(plain)
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
        self._gatherer.tick(current)

    def _decide(self, current: RolloutState) -> Decision:
        if current.champion is None:
            return self._first(current.revision)
        if current.phase == "baseline":
            if decision := self._baseline(current):
                return decision
            self._enter(current, "compare")
        if current.phase == "compare":
            if decision := self._compare(current):
                return decision
            self._enter(current, "traffic")
        return self._traffic(current)

    def _first(self, revision: Revision) -> Decision:
        batch = self.probes.unseen(set(), FIRST_PROBES)
        answers = [pair.challenger for pair in self.target.compare([probe.text for probe in batch])]
        answered = sum(answer is not None for answer in answers)
        right = sum(answer == probe.label for answer, probe in zip(answers, batch, strict=True))
        said = f"it answered {answered} of {len(batch)} probes, {right} of them as labelled"
        if answered < len(batch):
            return Decision("rolled_back", f"version {revision.version} is the first to be served here, but {said}")
        return Decision("promoted", f"version {revision.version} is the first to be served here; {said}")

    def _baseline(self, current: RolloutState) -> Decision | None:
        """Learn from the champion alone what is slow."""
        settings, wanted = self.settings, self.settings.baseline_requests
        while (latencies := current.counts(current.champion).latencies).total < wanted:
            if current.spent_s > settings.step_time_limit_s:
                return self._inconclusive(f"the champion answered only {latencies.total} of {wanted} baseline requests")
            progress.report(STEP, "measuring the champion's latency", latencies.total, wanted)
            self._gatherer.look(current, wanted, 1.0)
            self._save(current)
        current.baseline = latencies
        current.slow_ms = slow_limit(latencies, settings.slow_factor, settings.slow_floor_ms)
        return None

    def _compare(self, current: RolloutState) -> Decision | None:
        """Ask both revisions for labelled texts until agreement and accuracy are decided."""
        while True:
            analysis = analyse(current.evidence(), self.settings.rules(), Stage(True, 0, 0))
            self._record(current, analysis, 0)
            if analysis.verdict is Verdict.ROLL_BACK:
                return Decision("rolled_back", words.worse(current, analysis.reason))
            waiting = [name for name in PAIRED_METRICS if analysis.metrics[name].verdict is Verdict.HOLD]
            if not waiting:
                return None
            batch = self.probes.unseen(set(current.seen), self.settings.probe_batch)
            if not batch:
                said = "; ".join(analysis.metrics[name].words for name in waiting)
                return self._inconclusive(f"all {len(self.probes)} labelled texts were compared: {said}")
            progress.report(STEP, "comparing answers to labelled texts", len(current.seen), len(self.probes))
            pairs = self.target.compare([probe.text for probe in batch])
            current.pairs = current.pairs.adding(zip(pairs, [probe.label for probe in batch], strict=True))
            current.seen += [text_key(probe.text) for probe in batch]
            self._gatherer.tick(current)
            self._save(current)

    def _traffic(self, current: RolloutState) -> Decision:
        """Raise the challenger's share step by step."""
        percents = self.settings.percents
        current.step = min(current.step, len(percents) - 1)
        while True:
            percent, last = percents[current.step], current.step == len(percents) - 1
            self.target.set_traffic(percent)
            analysis = self._step(current, percent, last)
            if analysis.verdict is Verdict.ROLL_BACK:
                return Decision("rolled_back", words.worse(current, analysis.reason))
            if analysis.verdict is Verdict.HOLD:
                limit = f"no verdict within {self.settings.step_time_limit_s:g} s at {percent}% of traffic"
                return self._inconclusive(f"{limit}: {analysis.reason}")
            if last:
                return Decision("promoted", words.no_worse(current))
            current.close_period(percent)
            current.step += 1
            self._save(current)

    def _step(self, current: RolloutState, percent: int, last: bool) -> Analysis:
        """Gather evidence at one share of traffic until there is a verdict or the time is over."""
        minimum = self.settings.minimum_requests
        while True:
            source = self._gatherer.look(current, minimum, percent / 100)
            stage = Stage(last, current.step_requests, minimum)
            analysis = analyse(current.evidence(), self.settings.rules(), stage)
            self._record(current, analysis, percent)
            self._save(current)
            said = f"{percent}% of traffic ({source}), {current.requests[0]} requests so far: {analysis.verdict}"
            progress.report(STEP, said, percent, 100)
            if analysis.verdict is not Verdict.HOLD or current.spent_s > self.settings.step_time_limit_s:
                return analysis

    def _inconclusive(self, why: str) -> Decision:
        outcome: Outcome = "held" if self.settings.on_inconclusive == "hold" else "rolled_back"
        return Decision(outcome, f"no verdict: {why}")

    def _enter(self, current: RolloutState, phase: Phase) -> None:
        current.close_period(0)
        current.phase = phase
        self._save(current)

    def _finish(self, current: RolloutState, decision: Decision) -> dict[str, Any]:
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
        return results.result(current, decision, self.settings)

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

    def _record(self, current: RolloutState, analysis: Analysis, percent: int) -> None:
        readings = {name: judged.reading for name, judged in analysis.metrics.items()}
        metrics = {name: (reading.harm, reading.lower, reading.upper) for name, reading in readings.items()}
        texts, (challenger, champion) = current.pairs.labelled, current.requests
        where = (round(current.elapsed_s, 3), current.phase, percent, challenger, champion, texts)
        current.timeline.append(Point(*where, metrics, analysis.verdict.value))

    def _save(self, current: RolloutState) -> None:
        self.target.save_state(state.to_json(current))
