"""What a rollout has seen so far, in the form that the analysis reads."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from slipway.components.rollout.analysis.difference import Block, Comparison, comparison
from slipway.components.rollout.analysis.split import Split
from slipway.components.rollout.target import Counts, Histogram, Pair

SLOW_DESIGN_EFFECT = 2.0
"""Assumed of latencies until it is measured: a busy moment slows all answers of one process together."""
SLOW_PATIENCE = 5
"""Looks before answers are called slow, for the same reason."""


@dataclass(frozen=True)
class PairCounts:
    """Outcomes of texts that both revisions were asked directly. Each text counts once.

    A text on which both revisions fail says nothing and is left out. A revision that fails alone is wrong on
    that text; a challenger that fails alone also disagrees.
    """

    compared: int = 0
    """Texts that the champion answered, so that there is an answer to agree with."""
    disagreeing: int = 0
    """Texts to which the challenger gave another answer."""
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
        """These counts and those of more (pair, right label or None)."""
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
    """All evidence since the challenger was deployed. Immutable; the methods give the next one."""

    errors: Comparison | None = None
    """Failed requests; None before the champion's own rate was measured."""
    slow: Comparison | None = None
    slow_ms: float | None = None
    """Answers above this are slow."""
    pairs: PairCounts = field(default_factory=PairCounts)
    """Labelled probes."""
    copies: PairCounts = field(default_factory=PairCounts)
    """Copies of the clients' requests, in shadow."""
    splits: tuple[Split, ...] = ()
    """By step, where requests went that were routed by chance."""
    failing: int = 0
    """Requests to the challenger that failed in a row, while the champion answered."""

    def measured(self, before: Counts, slow_ms: float, margins: dict[str, float], assumed: float) -> "Evidence":
        """With what the champion did alone, which says what to expect of it and what is slow.

        Args:
            before: the champion's counts.
            slow_ms: what is slow.
            margins: of the metrics `errors` and `slow`.
            assumed: the design effect to begin with (`Comparison.assumed`).
        """
        late = (before.latencies.above(slow_ms), before.latencies.total)
        errors = comparison(margins["errors"], before=(before.errors, before.requests), assumed=assumed)
        slow = comparison(margins["slow"], None, late, max(assumed, SLOW_DESIGN_EFFECT), SLOW_PATIENCE)
        return replace(self, errors=errors, slow=slow, slow_ms=slow_ms)

    def at_new_step(self, percent: int, by_chance: bool) -> "Evidence":
        """With fresh capital for a new share of traffic; `by_chance` says whether each request is routed by itself."""
        if self.errors is None or self.slow is None:
            return self
        splits = (*self.splits, Split(percent)) if by_chance and 0 < percent < 100 else self.splits
        return replace(self, errors=self.errors.started_again(), slow=self.slow.started_again(), splits=splits)

    def with_block(self, old: Counts, new: Counts) -> "Evidence":
        """With what both did in the same period. Counts that contradict themselves say nothing."""
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
        """With both revisions' answers to a copy of a client's request."""
        return replace(self, copies=self.copies.adding([(pair, None)]))

    def with_pairs(self, pairs: Iterable[tuple[Pair, str]]) -> "Evidence":
        """With both revisions' answers to labelled probes."""
        return replace(self, pairs=self.pairs.adding(pairs))

    def with_split(self, old: int, new: int) -> "Evidence":
        """With requests that were routed in the present step."""
        if not self.splits:
            return self
        *done, now = self.splits
        return replace(self, splits=(*done, Split(now.percent, now.old + old, now.new + new)))


def _possible(counts: Counts) -> bool:
    return 0 <= counts.errors <= counts.requests and min(counts.latencies.counts) >= 0


def slow_limit(baseline: Histogram, factor: float, floor_ms: float) -> float | None:
    """The latency above which an answer is slow: the champion's 95th percentile times `factor`, at least `floor_ms`.

    At most the histogram's last bound, so that the answers above it can be counted. None without latencies.
    """
    if not baseline.total:
        return None
    return min(max(baseline.quantile(0.95) * factor, floor_ms), baseline.bounds[-1])
