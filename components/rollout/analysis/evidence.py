"""What a rollout has seen so far, in the form that the analysis reads."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from components.rollout.target import Counts, Histogram, Pair


@dataclass(frozen=True)
class PairCounts:
    """Outcomes of labelled texts that both revisions were asked directly. Each text counts once.

    A text on which both revisions fail says nothing and is left out. A revision that fails alone is wrong on
    that text; a challenger that fails alone also disagrees.
    """

    compared: int = 0
    """Texts that the champion answered, so that there is an answer to agree with."""
    disagreeing: int = 0
    challenger_failed: int = 0
    """Of the compared texts, those on which the challenger gave no answer (they also disagree)."""
    labelled: int = 0
    """Texts that at least one of them answered."""
    champion_only_right: int = 0
    challenger_only_right: int = 0
    both_right: int = 0

    def adding(self, pairs: Iterable[tuple[Pair, str]]) -> "PairCounts":
        """These counts and those of more (pair, right label)."""
        counts = self
        for pair, label in pairs:
            if pair.champion is None and pair.challenger is None:
                continue
            answered = pair.champion is not None
            champion, challenger = pair.champion == label, pair.challenger == label
            counts = replace(
                counts,
                compared=counts.compared + answered,
                disagreeing=counts.disagreeing + (answered and pair.champion != pair.challenger),
                challenger_failed=counts.challenger_failed + (answered and pair.challenger is None),
                labelled=counts.labelled + 1,
                champion_only_right=counts.champion_only_right + (champion and not challenger),
                challenger_only_right=counts.challenger_only_right + (challenger and not champion),
                both_right=counts.both_right + (champion and challenger),
            )
        return counts


@dataclass(frozen=True)
class Evidence:
    """All evidence since the challenger was deployed."""

    champion: Counts = field(default_factory=Counts)
    challenger: Counts = field(default_factory=Counts)
    pairs: PairCounts = field(default_factory=PairCounts)
    baseline: Histogram | None = None
    """The champion's latencies from before the challenger had traffic. They define what is slow, so they are
    not evidence about slow answers as well."""
    slow_ms: float | None = None
    """Answers above this are slow; None while the baseline is too small."""


def slow_limit(baseline: Histogram, factor: float, floor_ms: float) -> float | None:
    """The latency above which an answer is slow: the champion's 95th percentile times `factor`, at least `floor_ms`.

    At most the histogram's last bound, so that the answers above it can be counted. None without latencies.
    """
    if not baseline.total:
        return None
    return min(max(baseline.quantile(0.95) * factor, floor_ms), baseline.bounds[-1])
