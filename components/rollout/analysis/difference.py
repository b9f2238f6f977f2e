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

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator

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
"""Part of the capital that bets from the first block on. Each later start, at a new step, bets half of what remains.
So a challenger that turns bad under more traffic is found, although its earlier blocks were good."""
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
    """Logarithm of the evidence against "the harm is at least m" for each alternative, shape (..., m, e)."""
    before: Floats
    """The champion's (bad, all) answers before there was a challenger, shape (..., 2). They only inform the bets."""
    sums: Floats
    """(old, old bad, new, new bad) in all blocks, shape (..., 4)."""
    waiting: Floats
    """The same for a period in which only one revision answered, shape (..., 4). It joins the next block."""
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
    patience: int = 1
    """Blocks that must be seen before harm is claimed, since fewer may all lie in one bad moment of the machine."""
    starts: int = 0
    """How often fresh capital has started to bet."""

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
        """How much more blocks vary than independent answers would; at least 1."""
        observed, expected = self.spread[..., 0], self.spread[..., 1]
        return np.maximum((observed + DOUBT * self.assumed) / (expected + DOUBT), 1.0)

    def lower(self, alpha: float) -> npt.NDArray[np.float64]:
        """A lower bound on the harm: the largest tested value up to which all are refuted; -1 while none is refuted."""
        refuted = (self._evidence(self.over) >= -np.log(alpha)) & (self.blocks >= self.patience)[..., None]
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

    def started_again(self) -> "Comparison":
        """The comparison at the start of a step, with fresh capital that bets from now on."""
        share = FIRST_CAPITAL if self.starts == 0 else (1 - FIRST_CAPITAL) * 0.5**self.starts
        fresh = np.log(share)  # added to capital that has bet before; at first this is 0, whose logarithm is -inf
        over, under = (np.logaddexp(log, fresh) for log in (self.over, self.under))
        return replace(self, over=over, under=under, lately=np.zeros_like(self.lately), starts=self.starts + 1)

    def updated(self, block: Block) -> "Comparison":
        """The comparison with one more block. A block in which only one revision answered waits for the next one."""
        fields = (block.old, block.old_bad, block.new, block.new_bad)
        counts = self.waiting + np.stack(np.broadcast_arrays(*(np.asarray(count, float) for count in fields)), axis=-1)
        both_answered = (counts[..., 0] > 0) & (counts[..., 2] > 0)
        used = np.where(both_answered[..., None], counts, 0.0)
        return replace(self._with_counts(used), waiting=counts - used)

    def _with_counts(self, used: npt.NDArray[np.float64]) -> "Comparison":
        """Add the counts of one block, shape (..., 4) as `sums`; all 0 adds nothing."""
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
        )

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
    patience: int = 1,
    shape: tuple[int, ...] = (),
) -> Comparison:
    """A comparison without evidence.

    Args:
        margin: the harm that matters, as a share.
        harms: the harms to test, `tested_harms` by default; fewer are faster.
        before: the champion's (bad, all) answers before there was a challenger.
        assumed: the design effect that is assumed until blocks show it.
        patience: blocks that must be seen before harm is claimed.
        shape: the leading dimensions, for several rollouts at a time.
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
        assumed=assumed,
        patience=patience,
    )
    return empty.started_again()


def _average(stratified: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weighted, weights = stratified[..., 0], stratified[..., 1]
    average: npt.NDArray[np.float64] = np.divide(
        weighted, weights, out=np.full(weights.shape, np.nan), where=weights > 0
    )
    return average
