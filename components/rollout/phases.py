"""The phases of a rollout, for the driver: each gathers evidence until it allows a decision or the next phase.

first version     it must answer the probes as well as the gate asked of it, and then becomes champion, since there is
                  no version to compare it with
baseline          the latencies of the champion alone define which answers are slow
compare           both revisions answer the labelled texts directly; no client is exposed
shadow            both revisions answer copies of live requests; clients get the champion's answer only
traffic           the challenger gets a growing share of live traffic. The last step in which both answer decides; then
                  the challenger has all traffic for a while, with the champion still there to go back to
"""

import math

from slipway.components.rollout import reason_text, state
from slipway.components.rollout.analysis.evidence import slow_limit
from slipway.components.rollout.analysis.readings import Arm
from slipway.components.rollout.analysis.verdict import Analysis, Stage, Verdict, analyse
from slipway.components.rollout.evidence_source import Gatherer
from slipway.components.rollout.probes import Probes, macro_f1_of, text_key
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import Decision, Outcome, Phase, Point, RolloutState
from slipway.components.rollout.target import Revision, RolloutTarget
from slipway.components.step_runtime import progress

STEP = "rollout"
FIRST_PROBES = 1000
"""Most probes that the first version of a model must answer."""
STICKY_CORRELATION = 0.6
"""Intraclass correlation that is assumed of the requests of one client. Where clients stay with a revision, blocks
cannot show it: a client that always fails does so in every block."""
EVIDENCE = 8.0
"""Requests to the challenger that the deciding step is expected to need, times the margin of errors; 714 were needed
for a margin of 1 point when both failed 0.1 %. It decides only whether probes help out."""


class Phases:
    """Takes a rollout through its phases, and saves its state after every look.

    Args:
        target: where the model is served.
        probes: labelled texts.
        settings: how to roll out.
        gatherer: gathers the evidence.
        floor: macro-F1 on the probes that a first version must reach.
    """

    def __init__(
        self,
        target: RolloutTarget,
        probes: Probes,
        settings: RolloutSettings,
        gatherer: Gatherer,
        floor: float = 0.0,
    ) -> None:
        self.target, self.probes, self.settings, self._gatherer = target, probes, settings, gatherer
        self._floor = floor

    def decide(self, current: RolloutState) -> Decision:
        """Gather evidence until a decision follows from it. Phases that the rollout has completed are not repeated."""
        if current.champion is None:
            return self._first(current.revision)
        if current.phase == "baseline":
            if decision := self._baseline(current):
                return decision
            self._enter(current, "compare")
        if current.phase == "compare":
            if decision := self._compare(current):
                return decision
            self._enter(current, "shadow")
        if current.phase == "shadow":
            if decision := self._shadow(current):
                return decision
            self._enter(current, "traffic")
        return self._traffic(current)

    def _first(self, revision: Revision) -> Decision:
        """Ask it what the gate judged it by: what is served has to be as good as what was evaluated."""
        asked = self.probes.unseen(set(), FIRST_PROBES)
        labels: list[str | None] = []
        while len(labels) < len(asked):
            batch = asked[len(labels) :][: self.settings.probe_batch]
            labels += [pair.challenger for pair in self.target.compare([probe.text for probe in batch])]
            if None in labels:  # one that does not answer is refused, and has not to be asked the rest
                break
        answered, reached = sum(label is not None for label in labels), macro_f1_of(asked[: len(labels)], labels)
        right = sum(label == probe.label for label, probe in zip(labels, asked, strict=False))
        summary = f"it answered {answered} of {len(labels)} texts of the test split, {right} of them as labelled"
        summary += f" (macro-F1 {reached:.3f}, the gate's floor is {self._floor:.3f})"
        if answered < len(labels) or reached < self._floor:
            return Decision("rolled_back", f"version {revision.version} is the first to be served here, but {summary}")
        return Decision("promoted", f"version {revision.version} is the first to be served here: {summary}")

    def _baseline(self, current: RolloutState) -> Decision | None:
        """Measure the champion's latencies, which define which answers are slow."""
        settings, wanted = self.settings, self.settings.baseline_requests
        while (latencies := current.counts(current.champion).latencies).total < wanted:
            if current.spent_s > settings.step_time_limit_s:
                return self._inconclusive(f"the champion answered only {latencies.total} of {wanted} baseline requests")
            progress.report(STEP, "measuring the champion's latency", latencies.total, wanted)
            self._gatherer.look(current, wanted, 1.0)
            self._save(current)
        current.baseline = latencies
        slow_ms = slow_limit(latencies, settings.slow_factor, settings.slow_floor_ms) or settings.slow_floor_ms
        least = design_effect(settings.sticky_requests) if current.sticky else 1.0
        before, margins = current.counts(current.champion), settings.rules().margins
        current.evidence = current.evidence.measured(before, slow_ms, margins, least)
        return None

    def _compare(self, current: RolloutState) -> Decision | None:
        """Send labelled texts to both revisions until accuracy is decided."""
        while True:
            analysis = analyse(current.evidence, self.settings.rules(), Stage(True, 0, 0))
            self._record(current, analysis, 0)
            if analysis.verdict is Verdict.ROLL_BACK:
                return Decision("rolled_back", reason_text.worse(current, analysis.reason))
            accuracy = analysis.metrics["accuracy"]
            if accuracy.verdict is not Verdict.HOLD:
                return None
            batch = self.probes.unseen(set(current.seen), self.settings.probe_batch)
            if not batch:
                return self._inconclusive(f"all {len(self.probes)} labelled texts were compared: {accuracy.words}")
            progress.report(STEP, "comparing answers to labelled texts", len(current.seen), len(self.probes))
            pairs = self.target.compare([probe.text for probe in batch])
            labelled = zip(pairs, [probe.label for probe in batch], strict=True)
            current.evidence = current.evidence.with_pairs(labelled)
            current.seen += [text_key(probe.text) for probe in batch]
            self._gatherer.tick(current)
            self._save(current)

    def _shadow(self, current: RolloutState) -> Decision | None:
        """Send copies of live requests to both revisions until there are enough and agreement on them is decided."""
        wanted, percent = self.settings.shadow_requests, self.settings.shadow_percent
        if not wanted:
            return None
        self.target.shadow(percent)
        while True:
            analysis = analyse(current.evidence, self.settings.rules(), Stage(True, 0, 0))
            self._record(current, analysis, 0)
            self._save(current)
            undecided = analysis.metrics["shadow"].verdict is Verdict.HOLD
            enough = current.copied >= wanted and not undecided
            if analysis.verdict is Verdict.ROLL_BACK or enough or current.spent_s > self.settings.step_time_limit_s:
                break
            progress.report(STEP, "comparing answers to copies of live requests", min(current.copied, wanted), wanted)
            self._gatherer.look_at_copies(current, wanted, percent / 100)
        self.target.shadow(0)
        if analysis.verdict is Verdict.ROLL_BACK:
            return Decision("rolled_back", reason_text.worse(current, analysis.reason))
        if enough:
            return None
        reason = (
            analysis.metrics["shadow"].words if undecided else f"only {current.copied} of {wanted} copies were answered"
        )
        return self._inconclusive(f"in shadow, within {self.settings.step_time_limit_s:g} s: {reason}")

    def _traffic(self, current: RolloutState) -> Decision:
        """Raise the challenger's share step by step."""
        shares = self.settings.shares
        current.step = min(current.step, len(shares) - 1)
        while True:
            percent, last = shares[current.step], current.step == len(shares) - 1
            self.target.set_traffic(percent)
            self._gatherer.observe(current)
            current.begin_step(percent)
            analysis = self._step(current, percent)
            if analysis.verdict is Verdict.ROLL_BACK:
                return Decision("rolled_back", reason_text.worse(current, analysis.reason))
            if analysis.verdict is Verdict.HOLD:
                self._take_out_of_traffic(current, percent)
                limit = f"no verdict within {self._limit_s:g} s at {percent}% of traffic"
                return self._inconclusive(f"{limit}: {analysis.reason}")
            if last:
                return Decision("promoted", reason_text.no_worse(current))
            current.close_period(percent)
            current.step += 1
            self._save(current)

    def _step(self, current: RolloutState, percent: int) -> Analysis:
        """Gather evidence at one share of traffic, until there is a verdict or the step's time limit is reached.

        A verdict to go on counts once the step has had its least time; one to roll back counts at once.
        """
        settings, rules = self.settings, self.settings.rules()
        decides, minimum = current.step == settings.deciding, settings.minimum_requests
        wanted = max(minimum, math.ceil(EVIDENCE / rules.max_error_rise)) if decides else minimum
        least_time_s, enough = settings.least_time_s, False
        while True:
            look = self._gatherer.look
            source = self._gatherer.wait(current) if enough else look(current, wanted, percent / 100)
            current.take_block(percent, settings.window_s, rules.max_slow_rise)
            stage = Stage(decides, current.step_requests, minimum, current.fresh)
            analysis = analyse(current.evidence, rules, stage)
            enough = analysis.verdict is Verdict.GO_ON
            self._record(current, analysis, percent)
            self._save(current)
            message = f"{percent}% of traffic ({source}), {current.requests[0]} requests so far: {analysis.verdict}"
            progress.report(STEP, message, percent, 100)
            if analysis.verdict is Verdict.ROLL_BACK or current.spent_s > self._limit_s:
                return analysis
            if enough and current.spent_s >= least_time_s:
                return analysis

    @property
    def _limit_s(self) -> float:
        """The longest time of a step, in seconds."""
        return self.settings.least_time_s + self.settings.step_time_limit_s

    def _take_out_of_traffic(self, current: RolloutState, percent: int) -> None:
        """Give the champion all traffic, since nobody watches a rollout that is held; a later driver goes on."""
        current.close_period(percent)
        current.pause(min(current.step, self.settings.deciding))
        self._save(current)
        self.target.set_traffic(0)
        self._gatherer.observe(current)

    def _inconclusive(self, reason: str) -> Decision:
        outcome: Outcome = "held" if self.settings.on_inconclusive == "hold" else "rolled_back"
        return Decision(outcome, f"no verdict: {reason}")

    def _enter(self, current: RolloutState, phase: Phase) -> None:
        current.close_period(0)
        current.phase = phase
        self._save(current)

    def _record(self, current: RolloutState, analysis: Analysis, percent: int) -> None:
        readings = {name: judged.reading for name, judged in analysis.metrics.items()}
        metrics = {name: (reading.harm, reading.lower, reading.upper) for name, reading in readings.items()}
        rates = {name: (_rate(reading.champion), _rate(reading.challenger)) for name, reading in readings.items()}
        verdicts = {name: judged.verdict.value for name, judged in analysis.metrics.items()}
        texts, (challenger, champion) = current.pairs.labelled, current.requests
        progress_so_far = (round(current.elapsed_s, 3), current.phase, percent, challenger, champion, texts)
        current.note(Point(*progress_so_far, metrics, analysis.verdict.value, rates, verdicts))

    def _save(self, current: RolloutState) -> None:
        self.target.save_state(state.to_json(current))


def design_effect(requests: int) -> float:
    """How much more the answers to sticky clients vary than independent ones, at `requests` of each client."""
    return 1 + (requests - 1) * STICKY_CORRELATION


def _rate(arm: Arm | None) -> float | None:
    return arm.rate if arm else None
