"""The evidence of a rollout: what the phases collect and the analysis reads."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from slipway.components.rollout.analysis.difference import Block, Comparison, comparison
from slipway.components.rollout.analysis.split import Split
from slipway.components.rollout.target import Counts, Histogram, Pair

SLOW_DESIGN_EFFECT = 2.0
"""Design effect assumed of latencies until it is measured: a busy moment slows all answers of one process together."""
SLOW_PATIENCE = 5
"""Looks that must be taken before a challenger is called slow, for the same reason."""


@dataclass(frozen=True)
class PairCounts:
    """Outcomes of texts that were sent to both revisions directly. Each text counts once.

    A text on which both revisions fail is no evidence and is left out. A revision that fails alone is wrong on that
    text; a challenger that fails alone also disagrees.
    """

    compared: int = 0
    """Texts that the champion answered, so that the challenger can agree or disagree."""
    disagreeing: int = 0
    """Texts to which the challenger gave another answer or none."""
    challenger_failed: int = 0
    """Of the compared texts, those on which the challenger gave no answer (they also disagree)."""
    labelled: int = 0
    """Texts with a label that at least one of them answered."""
    champion_only_right: int = 0
    """Labelled texts that the champion alone had right."""
    challenger_only_right: int = 0
    """Labelled texts that the challenger alone had right."""
    both_right: int = 0
    """Labelled texts that both had right."""

    def adding(self, pairs: Iterable[tuple[Pair, str | None]]) -> "PairCounts":
        """These counts with those of more pairs, each with its correct label or None."""
        counts = self
        for pair, label in pairs:
            if pair.champion is None and pair.challenger is None:
                continue
            answered, known = pair.champion is not None, label is not None
            champion, challenger = known and pair.champion == label, known and pair.challenger == label
            counts = replace(
                counts,
                compared=counts.compared + answered,
                disagreeing=counts.disagreeing + (answered and pair.champion != pair.challenger),
                challenger_failed=counts.challenger_failed + (answered and pair.challenger is None),
                labelled=counts.labelled + known,
                champion_only_right=counts.champion_only_right + (champion and not challenger),
                challenger_only_right=counts.challenger_only_right + (challenger and not champion),
                both_right=counts.both_right + (champion and challenger),
            )
        return counts


@dataclass(frozen=True)
class Evidence:
    """All evidence since the challenger was deployed. It is immutable; the methods return the next one."""

    errors: Comparison | None = None
    """Failed requests; None before the baseline is measured."""
    slow: Comparison | None = None
    """Slow answers; None before the baseline is measured."""
    slow_ms: float | None = None
    """Answers that take longer, in ms, are slow."""
    pairs: PairCounts = field(default_factory=PairCounts)
    """Outcomes of labelled probes."""
    copies: PairCounts = field(default_factory=PairCounts)
    """Outcomes of copies of client requests, in the phase `shadow`."""
    splits: tuple[Split, ...] = ()
    """By step, the requests that were routed at random."""
    failing: int = 0
    """Requests to the challenger that failed in a row while the champion answered."""

    def measured(self, before: Counts, slow_ms: float, margins: dict[str, float], assumed: float) -> "Evidence":
        """The evidence after the baseline, ready to compare errors and slow answers.

        Args:
            before: the champion's counts in the baseline.
            slow_ms: answers that take longer, in ms, are slow.
            margins: margin of each metric; `errors` and `slow` are used.
            assumed: the design effect that is assumed until it is measured (`Comparison.assumed`).
        """
        late = (before.latencies.above(slow_ms), before.latencies.total)
        errors = comparison(margins["errors"], before=(before.errors, before.requests), assumed=assumed)
        slow = comparison(margins["slow"], None, late, max(assumed, SLOW_DESIGN_EFFECT), SLOW_PATIENCE)
        return replace(self, errors=errors, slow=slow, slow_ms=slow_ms)

    def at_new_step(self, percent: int, by_chance: bool) -> "Evidence":
        """The evidence at the start of a step, with fresh capital.

        Args:
            percent: the challenger's share of traffic in the step.
            by_chance: whether each request is routed at random, independently of the others.
        """
        if self.errors is None or self.slow is None:
            return self
        splits = (*self.splits, Split(percent)) if by_chance and 0 < percent < 100 else self.splits
        return replace(self, errors=self.errors.started_again(), slow=self.slow.started_again(), splits=splits)

    def with_block(self, old: Counts, new: Counts) -> "Evidence":
        """The evidence with the counts of (champion, challenger) in one period. Contradictory counts are ignored."""
        if self.errors is None or self.slow is None or self.slow_ms is None or not (_possible(old) and _possible(new)):
            return self
        slow = Block(
            old.latencies.total,
            old.latencies.above(self.slow_ms),
            new.latencies.total,
            new.latencies.above(self.slow_ms),
        )
        alive = not old.requests or old.errors < old.requests
        all_failed = new.requests > 0 and new.errors == new.requests
        failing = self.failing + new.requests * alive if all_failed else self.failing * (new.requests == 0)
        return replace(
            self,
            errors=self.errors.updated(Block(old.requests, old.errors, new.requests, new.errors)),
            slow=self.slow.updated(slow),
            failing=failing,
        )

    def with_copy(self, pair: Pair) -> "Evidence":
        """The evidence with both revisions' answers to a copy of a client request."""
        return replace(self, copies=self.copies.adding([(pair, None)]))

    def with_pairs(self, pairs: Iterable[tuple[Pair, str]]) -> "Evidence":
        """The evidence with both revisions' answers to labelled probes."""
        return replace(self, pairs=self.pairs.adding(pairs))

    def with_split(self, old: int, new: int) -> "Evidence":
        """The evidence with more requests to (champion, challenger) that were routed at random in the present step."""
        if not self.splits:
            return self
        *earlier, present = self.splits
        return replace(self, splits=(*earlier, Split(present.percent, present.old + old, present.new + new)))


def _possible(counts: Counts) -> bool:
    return 0 <= counts.errors <= counts.requests and min(counts.latencies.counts) >= 0


def slow_limit(baseline: Histogram, factor: float, floor_ms: float) -> float | None:
    """The latency in ms above which an answer is slow: the champion's 95th percentile times `factor`.

    It is at least `floor_ms`, and at most the histogram's last bound, so that the answers above it can be counted.
    None without latencies.
    """
    if not baseline.total:
        return None
    return min(max(baseline.quantile(0.95) * factor, floor_ms), baseline.bounds[-1])
