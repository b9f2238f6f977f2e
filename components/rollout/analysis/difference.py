"""How much higher the challenger's share of bad answers is than the champion's, with bounds that hold at every look.

Method: e-processes for two streams of Bernoulli data that come in blocks (Turner, Ly & Grünwald, "Generic e-variables
for exact sequential k-sample tests", 2021, arXiv:2106.02693; for any risk difference: Turner & Grünwald, "Exact
anytime-valid confidence intervals for contingency tables and beyond", Statistics & Probability Letters 2023). A block
is what both revisions did between two looks. To test "the harm is at most m" (or at least m), each block multiplies the
evidence by the likelihood of an alternative over that of the nearest point with harm m. The product of such
ratios has expectation at most 1 under the hypothesis, so by Ville's inequality it ever exceeds 1 / alpha with
probability at most alpha.

Only shares within one block are compared. So a bad hour that hits both revisions is no evidence against either of
them, however the traffic was split in that hour. Totals over all steps would mislead, since the challenger has most of
its traffic late.

The leading dimensions of all arrays, `...` below, are those of several rollouts at a time. The simulation uses them.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator

from slipway.components.rollout.analysis.bounds import is_above
from slipway.components.rollout.analysis.likelihood import RARE, log_ratio

Floats = Annotated[
    npt.NDArray[np.float64],
    PlainValidator(lambda value: np.asarray(value, float)),
    PlainSerializer(lambda value: value.tolist()),
]

EFFECTS = np.array([0.2, 0.5, 1.0, 2.5, 8.0])
"""Distances of the alternatives from the tested harm, in margins."""
PRIOR = np.array([0.04, 0.08, 0.6, 0.16, 0.12])
"""Part of the capital on each alternative. Most is on one margin, since harm of about a margin matters most."""
FIRST_CAPITAL = 0.9
"""Part of the capital against "the harm is at most m" that bets from the first block on. Each later start, at a new
step, bets half of what remains. So a challenger that turns bad under more traffic is found, although its earlier blocks
were good. The capital against "the harm is at least m" is whole at every start: only the last step's evidence
promotes, since harm may come with load."""
DOUBT = 2.0
"""Squared deviations that the design effect starts with, so that a few blocks do not determine it."""
GUESS = (0.2, 10.0)
"""Answers (bad, all) that are assumed of the champion before any are counted."""


@dataclass(frozen=True)
class Block:
    """Answers of both revisions in the same period, as numbers or as arrays of shape (...)."""

    old: npt.ArrayLike
    """Answers of the champion."""
    old_bad: npt.ArrayLike
    """Bad ones among them."""
    new: npt.ArrayLike
    """Answers of the challenger."""
    new_bad: npt.ArrayLike
    """Bad ones among them."""


@dataclass(frozen=True)
class Comparison:
    """All evidence about one kind of bad answer. It is immutable; `updated` returns the next one."""

    harms: Floats
    """The tested harms m, ascending, within -1 and 1, shape (m,)."""
    effects: Floats
    """Distances of the alternatives, shape (e,)."""
    over: Floats
    """Logarithm of the evidence against "the harm is at most m" for each alternative, shape (..., m, e)."""
    under: Floats
    """Logarithm of the evidence against "the harm is at least m" for each alternative, since the present step began,
    shape (..., m, e)."""
    before: Floats
    """The champion's (bad, all) answers before there was a challenger, shape (..., 2). They only inform the bets."""
    sums: Floats
    """(old, old bad, new, new bad) in all blocks, shape (..., 4)."""
    waiting: Floats
    """The same for a period in which only one revision answered, or which was too short for a block, shape (..., 4). It
    joins the next block."""
    stratified: Floats
    """(sum of weighted differences, sum of weights), shape (..., 2)."""
    lately: Floats
    """`stratified` since the present step began."""
    spread: Floats
    """(squared deviations between blocks, those expected of independent answers), shape (..., 2)."""
    blocks: Floats
    """Number of blocks, shape (...)."""
    assumed: float = 1.0
    """The design effect that is assumed until blocks show it."""
    least: float = 1.0
    """The least design effect, whatever blocks show."""
    spells: float = 0.0
    """Part of the blocks that may be harmful by bad moments of one process; harm is claimed when more are. 0 for bad
    answers that do not come in spells."""
    margin: float = 0.0
    """A block with more harm than half of this is harmful."""
    starts: int = 0
    """How often fresh capital has started to bet."""
    harmful: Floats = field(default_factory=lambda: np.zeros((2, 2)))
    """Numbers of (other, harmful) blocks, in the whole rollout and since the present step began, shape (..., 2, 2)."""

    @property
    def harm(self) -> npt.NDArray[np.float64]:
        """The difference of shares, averaged over blocks with Mantel-Haenszel weights; NaN without data."""
        return _average(self.stratified)

    @property
    def harm_lately(self) -> npt.NDArray[np.float64]:
        """`harm` since the present step began."""
        return _average(self.lately)

    @property
    def design_effect(self) -> npt.NDArray[np.float64]:
        """How much more blocks vary than independent answers would; at least `least`."""
        observed, expected = self.spread[..., 0], self.spread[..., 1]
        return np.maximum((observed + DOUBT * self.assumed) / (expected + DOUBT), self.least)

    def lower(self, alpha: float) -> npt.NDArray[np.float64]:
        """A lower bound on the harm: the largest tested value up to which all are refuted; -1 while none is refuted."""
        refuted = (self._evidence(self.over) >= -np.log(alpha)) & self._lasts(alpha)[..., None]
        last = np.cumprod(refuted, axis=-1).sum(axis=-1) - 1
        return np.where(last < 0, -1.0, self.harms[np.maximum(last, 0)])

    def upper(self, alpha: float) -> npt.NDArray[np.float64]:
        """An upper bound on the harm, as `lower`; 1 while no tested value is refuted."""
        refuted = self._evidence(self.under) >= -np.log(alpha)
        refuted_from_top = np.cumprod(refuted[..., ::-1], axis=-1).sum(axis=-1)
        first = len(self.harms) - refuted_from_top
        return np.where(refuted_from_top == 0, 1.0, self.harms[np.minimum(first, len(self.harms) - 1)])

    def _evidence(self, log: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logarithm of the evidence by tested harm, divided by the design effect.

        For independent answers the division only removes evidence, so the guarantee holds. For correlated answers (all
        requests of a client at one revision, for example) it is the usual correction of a likelihood for overdispersion
        (McCullagh & Nelder, "Generalized Linear Models", 1989, section 4.5), and the guarantee is approximate.
        """
        prior = PRIOR[: log.shape[-1]] / PRIOR[: log.shape[-1]].sum()
        capital: npt.NDArray[np.float64] = np.logaddexp.reduce(log + np.log(prior), axis=-1)
        return capital / self.design_effect[..., None]

    def _lasts(self, alpha: float) -> npt.NDArray[np.bool_]:
        """Whether harm is in more blocks than bad moments of one process explain, in the whole rollout or in this step.

        The unit is the block, since all answers in a bad moment are slow together.
        """
        if not self.spells:
            return np.ones(self.blocks.shape, bool)
        return np.asarray(is_above(self.harmful, self.spells, alpha / 2).any(axis=-1))

    def started_again(self) -> "Comparison":
        """The comparison at the start of a step.

        Evidence of harm is kept, and fresh capital joins it. Evidence of no harm begins anew: what a small share of the
        traffic showed says nothing about a larger one.
        """
        share = FIRST_CAPITAL if self.starts == 0 else (1 - FIRST_CAPITAL) * 0.5**self.starts
        over = np.logaddexp(self.over, np.log(share))  # at first there is no capital, whose logarithm is -inf
        return replace(
            self,
            over=over,
            under=np.zeros_like(over),
            waiting=np.zeros_like(self.waiting),
            lately=np.zeros_like(self.lately),
            starts=self.starts + 1,
            harmful=self.harmful * np.array([[1.0, 1.0], [0.0, 0.0]]),
        )

    def updated(self, block: Block, whole: bool = True) -> "Comparison":
        """The comparison with the answers of one more period.

        Args:
            block: the answers.
            whole: whether a block ends with this period. If not, or if only one revision answered, the answers wait for
                the next period.
        """
        fields = (block.old, block.old_bad, block.new, block.new_bad)
        counts = self.waiting + np.stack(np.broadcast_arrays(*(np.asarray(count, float) for count in fields)), axis=-1)
        both_answered = (counts[..., 0] > 0) & (counts[..., 2] > 0)
        used = np.where(both_answered[..., None] & whole, counts, 0.0)
        return replace(self._with_counts(used) if used.any() else self, waiting=counts - used)

    def _with_counts(self, used: npt.NDArray[np.float64]) -> "Comparison":
        """Add the counts of one block, shape (..., 4) as `sums`; where they are all 0, nothing changes."""
        old, old_bad, new, new_bad = np.moveaxis(used, -1, 0)
        champion = self._champion_share()[..., None, None]
        m, effects = self.harms[:, None], self.effects[None, :]
        counts = tuple(count[..., None, None] for count in (old, old_bad, new, new_bad))
        over = log_ratio(counts, champion, champion + m + effects, m, 1.0)
        under = log_ratio(counts, champion, champion + m - effects, m, -1.0)
        weight = np.divide(old * new, old + new, out=np.zeros(old.shape), where=old + new > 0)
        shares = [np.divide(bad, n, out=np.zeros(n.shape), where=n > 0) for bad, n in ((old_bad, old), (new_bad, new))]
        difference = shares[1] - shares[0]
        weighted = np.stack([weight * difference, weight], axis=-1)
        return replace(
            self,
            over=self.over + over,
            under=self.under + under,
            sums=self.sums + used,
            stratified=self.stratified + weighted,
            lately=self.lately + weighted,
            spread=self.spread + self._spread(used, weight, difference),
            blocks=self.blocks + (weight > 0),
            harmful=self.harmful + self._harmful(weight, difference),
        )

    def _harmful(self, weight: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The block's terms of `harmful`."""
        harmful = difference > self.margin / 2
        kind = np.stack([~harmful, harmful], axis=-1) & (weight > 0)[..., None]
        return np.stack([kind, kind], axis=-2).astype(float)

    def _champion_share(self) -> npt.NDArray[np.float64]:
        """The share of bad answers to expect of the champion in the next block, from all earlier ones.

        It must not depend on the next block, or the evidence would no longer have expectation at most 1.
        """
        bad = self.before[..., 0] + self.sums[..., 1] + GUESS[0]
        total = self.before[..., 1] + self.sums[..., 0] + GUESS[1]
        return np.clip(bad / total, RARE, 1 - RARE)

    def _spread(
        self, used: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """The block's terms of `spread`; 0 for the first block of a step, which has no estimate to deviate from."""
        old, old_bad, new, new_bad = np.moveaxis(used, -1, 0)
        total = np.maximum(old + new, 1.0)
        harm, both = np.nan_to_num(self.harm_lately), (old_bad + new_bad) / total
        old_share, new_share = (np.clip(both + part, 0.0, 1.0) for part in (-harm * new / total, harm * old / total))
        parts = [
            np.divide(share * (1 - share), n, out=np.zeros(n.shape), where=n > 0)
            for share, n in ((old_share, old), (new_share, new))
        ]
        deviation = weight * (difference - harm)
        pair = np.stack([deviation**2, weight**2 * (parts[0] + parts[1])], axis=-1)
        return np.where(self.lately[..., 1, None] > 0, pair, 0.0)


def tested_harms(margin: float) -> npt.NDArray[np.float64]:
    """The harms to test, ascending and of both signs: fine steps up to two margins, and coarse ones beyond."""
    positive = margin * np.concatenate([np.arange(0, 2.1, 0.2), [2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20]])
    positive = positive[positive < 0.95]
    return np.unique(np.round(np.concatenate([-positive, positive, [margin]]), 9))


def comparison(
    margin: float,
    harms: npt.ArrayLike | None = None,
    before: npt.ArrayLike = (0.0, 0.0),
    assumed: float = 1.0,
    spells: float = 0.0,
    shape: tuple[int, ...] = (),
    least: float = 1.0,
) -> Comparison:
    """A comparison without evidence.

    Args:
        margin: the harm that matters, as a share.
        harms: the harms to test, `tested_harms` by default; fewer are faster.
        before: the champion's (bad, all) answers before there was a challenger.
        assumed: the design effect that is assumed until blocks show it.
        spells: part of the blocks that may be harmful by bad moments of one process; 0 for answers without such.
        shape: the leading dimensions, for several rollouts at a time.
        least: the least design effect, whatever blocks show.
    """
    tested = tested_harms(margin) if harms is None else np.asarray(harms, float)
    effects = np.unique(np.minimum(EFFECTS * margin, 0.9))
    no_evidence = np.full((*shape, len(tested), len(effects)), -np.inf)
    earlier = np.broadcast_to(np.asarray(before, float), (*shape, 2))
    counts, pair, blocks = np.zeros((*shape, 4)), np.zeros((*shape, 2)), np.zeros(shape)
    empty = Comparison(
        tested,
        effects,
        over=no_evidence,
        under=no_evidence,
        before=earlier,
        sums=counts,
        waiting=counts,
        stratified=pair,
        lately=pair,
        spread=pair,
        blocks=blocks,
        assumed=max(assumed, least),
        spells=spells,
        margin=margin,
        harmful=np.zeros((*shape, 2, 2)),
        least=least,
    )
    return empty.started_again()


def _average(stratified: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weighted, weights = stratified[..., 0], stratified[..., 1]
    average: npt.NDArray[np.float64] = np.divide(
        weighted, weights, out=np.full(weights.shape, np.nan), where=weights > 0
    )
    return average
