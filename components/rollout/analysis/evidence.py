"""The evidence of a rollout: what the phases collect and the analysis reads."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from slipway.components.rollout.analysis.difference import Block, Comparison, comparison
from slipway.components.rollout.analysis.split import Split
from slipway.components.rollout.analysis.watch import SPELLS, Watch, usual_share
from slipway.components.rollout.target import Counts, Histogram, Pair

SLOW_DESIGN_EFFECT = 2.0
"""Design effect assumed of latencies until it is measured: a busy moment slows all answers of one process together."""
SLOW_SPELLS = SPELLS
"""Part of the blocks in which a busy spell of the challenger may fall; it is called slow when more blocks are. So five
or six slow blocks are waited for."""
ALL = 100
"""Percent of traffic with which there is no champion to compare with."""


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
    watch: Watch = field(default_factory=Watch)
    """What the challenger did with all traffic."""

    def measured(self, before: Counts, slow_ms: float, margins: dict[str, float], least: float = 1.0) -> "Evidence":
        """The evidence after the baseline, ready to compare errors and slow answers.

        Args:
            before: the champion's counts in the baseline.
            slow_ms: answers that take longer, in ms, are slow.
            margins: margin of each metric; `errors` and `slow` are used.
            least: the least design effect; above 1 where all requests of a client go to one revision.
        """
        late = (before.latencies.above(slow_ms), before.latencies.total)
        errors = comparison(margins["errors"], before=(before.errors, before.requests), least=least)
        slow = comparison(margins["slow"], None, late, SLOW_DESIGN_EFFECT, SLOW_SPELLS, least=least)
        return replace(self, errors=errors, slow=slow, slow_ms=slow_ms)

    def at_new_step(self, percent: int, by_chance: bool) -> "Evidence":
        """The evidence at the start of a step: only what comes from now on can show that the challenger is no worse.

        With all traffic there is no champion to compare with, so the comparisons stay as they are.

        Args:
            percent: the challenger's share of traffic in the step.
            by_chance: whether each request is routed at random, independently of the others.
        """
        if self.errors is None or self.slow is None or percent == ALL:
            return self
        splits = (*self.splits, Split(percent)) if by_chance and percent > 0 else self.splits
        errors, slow = (test.updated(Block(0, 0, 0, 0)).started_again() for test in (self.errors, self.slow))
        return replace(self, errors=errors, slow=slow, splits=splits)

    def with_block(self, old: Counts, new: Counts, window_ends: bool = True) -> "Evidence":
        """The evidence with the counts of (champion, challenger) in one period. Contradictory counts are ignored.

        Args:
            old: counts of the champion.
            new: counts of the challenger.
            window_ends: whether a block of slow answers ends with this period. Such blocks are longer than the time
                between two looks, so that a busy spell of one process lies within one or two of them.
        """
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
            slow=self.slow.updated(slow, window_ends),
            failing=failing,
        )

    def with_all_traffic(self, new: Counts, slow_margin: float, window_ends: bool) -> "Evidence":
        """The evidence with the counts of the challenger in one period in which it had all traffic.

        Args:
            new: its counts.
            slow_margin: how much higher than the champion's the share of slow answers of a window may be.
            window_ends: whether a window ends with this period.
        """
        if self.slow is None or self.slow_ms is None or not _possible(new):
            return self
        late = (new.latencies.total, new.latencies.above(self.slow_ms))
        limit = usual_share(self.slow) + slow_margin
        return replace(self, watch=self.watch.updated((new.requests, new.errors), late, limit, window_ends))

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


def slow_limit(baseline: Histogram, factor: float, floor_ms: float = 0.0) -> float | None:
    """The latency in ms above which an answer is slow: the champion's 95th percentile times `factor`.

    It is at least `floor_ms`, and at most the histogram's last bound, so that the answers above it can be counted.
    None without latencies. Both the percentile and the limit are rounded up to bounds of the histogram. These are 25 %
    apart, and 1.25 squared is 1.56, so with the factor 1.5 the limit lies between 1.56 and 1.95 times the percentile.
    """
    if not baseline.total:
        return None
    return min(max(baseline.quantile(0.95) * factor, floor_ms), baseline.bounds[-1])
