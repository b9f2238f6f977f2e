"""How much higher the challenger's bad share is than the champion's: tests and bounds that hold at every look.

Method: e-processes for two streams of Bernoulli data that come in blocks (Turner, Ly & Grünwald, "Generic e-variables
for exact sequential k-sample tests", 2021, arXiv:2106.02693; for any risk difference: Turner & Grünwald, "Exact
anytime-valid confidence intervals for contingency tables and beyond", Statistics & Probability Letters 2023). A block
is what both revisions did between two looks. To test "the harm is at most m" (or at least m), each block multiplies the
evidence by the likelihood of an alternative over that of the nearest point with harm m. The product of such
ratios has expectation at most 1 under the hypothesis, so by Ville's inequality it ever exceeds 1 / alpha with
probability at most alpha.

Only shares within one block are compared, so a bad hour that hits both revisions is no evidence against either,
whatever part of the traffic each had then. (Totals over all steps would mislead, since the challenger has most of its
traffic late.)

Arrays carry any number of rollouts in front (the simulation uses this): `...` below.
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
"""How far the alternatives lie from the tested harm, in margins: harm of about a margin is what matters most."""
PRIOR = np.array([0.04, 0.08, 0.6, 0.16, 0.12])
"""The capital on each alternative."""
FIRST_CAPITAL = 0.9
"""The part that bets from the first block on; of the rest, half goes to each later start (a new step), so that a
challenger that turns bad under more traffic is found although it was good before."""
DOUBT = 2.0
"""Expected squared deviations that count as seen from the start, so that few blocks do not make a design effect."""
GUESS = (0.2, 10.0)
"""What is assumed of the champion before anything is known: so many bad answers of so many."""


@dataclass(frozen=True)
class Block:
    """What both revisions did in the same period: answers and bad ones; numbers or arrays (...)."""

    old: npt.ArrayLike
    old_bad: npt.ArrayLike
    new: npt.ArrayLike
    new_bad: npt.ArrayLike


@dataclass(frozen=True)
class Comparison:
    """All evidence about one kind of bad answer. Immutable; `updated` gives the next one."""

    harms: Floats
    """The tested harms m, ascending, within -1 and 1, shape (m,)."""
    effects: Floats
    """Distances of the alternatives, shape (e,)."""
    over: Floats
    """Logarithm of the evidence against "the harm is at most m" by alternative, shape (..., m, e)."""
    under: Floats
    """The same against "the harm is at least m"."""
    before: Floats
    """The champion's (bad, all) answers from before there was a challenger, shape (..., 2): only a guess to bet by."""
    sums: Floats
    """(old, old bad, new, new bad) in all blocks, shape (..., 4)."""
    waiting: Floats
    """The same of a period in which only one of them answered anything; it joins the next block."""
    stratified: Floats
    """(sum of weighted differences, sum of weights), shape (..., 2)."""
    lately: Floats
    """The same since the present step began."""
    spread: Floats
    """(squared deviations between blocks, what independent answers would give), shape (..., 2)."""
    blocks: Floats
    """How many blocks there were, shape (...)."""
    assumed: float = 1.0
    """The design effect to begin with, until blocks show it."""
    patience: int = 1
    """Blocks before harm is claimed: what shows in fewer moments may be the moment."""
    starts: int = 0

    @property
    def harm(self) -> npt.NDArray[np.float64]:
        """The difference of shares, averaged over blocks with Mantel-Haenszel weights; NaN without data."""
        return _average(self.stratified)

    @property
    def harm_lately(self) -> npt.NDArray[np.float64]:
        """The same since the present step began."""
        return _average(self.lately)

    @property
    def design_effect(self) -> npt.NDArray[np.float64]:
        """How much more blocks vary than independent answers would; at least 1."""
        seen, expected = self.spread[..., 0], self.spread[..., 1]
        return np.maximum((seen + DOUBT * self.assumed) / (expected + DOUBT), 1.0)

    def lower(self, alpha: float) -> npt.NDArray[np.float64]:
        """A bound below the harm: the first tested value that is not refuted as too low; -1 while all stand."""
        refuted = (self._evidence(self.over) >= -np.log(alpha)) & (self.blocks >= self.patience)[..., None]
        last = np.cumprod(refuted, axis=-1).sum(axis=-1) - 1
        return np.where(last < 0, -1.0, self.harms[np.maximum(last, 0)])

    def upper(self, alpha: float) -> npt.NDArray[np.float64]:
        """A bound above the harm; 1 while all stand."""
        refuted = self._evidence(self.under) >= -np.log(alpha)
        kept = np.cumprod(refuted[..., ::-1], axis=-1).sum(axis=-1)
        at = len(self.harms) - kept
        return np.where(kept == 0, 1.0, self.harms[np.minimum(at, len(self.harms) - 1)])

    def _evidence(self, log: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Logarithm of the evidence by tested harm, divided by the design effect.

        Of independent answers this only takes evidence away, so the guarantee stays. Of correlated ones (each client
        with all its requests at one revision, say) it is the usual correction of a likelihood for overdispersion
        (McCullagh & Nelder, "Generalized Linear Models", 1989, section 4.5), so there the guarantee is approximate.
        """
        prior = PRIOR[: log.shape[-1]] / PRIOR[: log.shape[-1]].sum()
        capital: npt.NDArray[np.float64] = np.logaddexp.reduce(log + np.log(prior), axis=-1)
        return capital / self.design_effect[..., None]

    def started_again(self) -> "Comparison":
        """With fresh capital that bets from now on, at the start of a step."""
        share = FIRST_CAPITAL if self.starts == 0 else (1 - FIRST_CAPITAL) * 0.5**self.starts
        fresh = np.log(share)
        over, under = (np.logaddexp(log, fresh) for log in (self.over, self.under))
        return replace(self, over=over, under=under, lately=np.zeros_like(self.lately), starts=self.starts + 1)

    def updated(self, block: Block) -> "Comparison":
        """With one more block. A period in which one revision answered nothing waits for the next."""
        counts = (block.old, block.old_bad, block.new, block.new_bad)
        given = self.waiting + np.stack(np.broadcast_arrays(*(np.asarray(count, float) for count in counts)), axis=-1)
        whole = (given[..., 0] > 0) & (given[..., 2] > 0)
        used = np.where(whole[..., None], given, 0.0)
        grown = self._grown(used)
        return replace(grown, waiting=given - used)

    def _grown(self, used: npt.NDArray[np.float64]) -> "Comparison":
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
        """What to expect of the champion in the next block, from all before it."""
        bad = self.before[..., 0] + self.sums[..., 1] + GUESS[0]
        total = self.before[..., 1] + self.sums[..., 0] + GUESS[1]
        return np.clip(bad / total, RARE, 1 - RARE)

    def _spread(
        self, used: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], difference: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
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
    """The harms that a person may want to know about: fine around the margin, and the margin itself."""
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
    """A comparison without evidence yet.

    Args:
        margin: the harm that matters, as a share.
        harms: what to test, `tested_harms` by default; fewer are faster.
        before: the champion's (bad, all) answers from before.
        assumed: the design effect to begin with.
        patience: blocks before harm is claimed.
        shape: of the rollouts that it carries.
    """
    tested = tested_harms(margin) if harms is None else np.asarray(harms, float)
    effects = np.unique(np.minimum(EFFECTS * margin, 0.9))
    nothing = np.full((*shape, len(tested), len(effects)), -np.inf)
    fours, twos = np.zeros((*shape, 4)), np.zeros((*shape, 2))
    given = np.broadcast_to(np.asarray(before, float), (*shape, 2))
    empty = Comparison(
        tested, effects, nothing, nothing, given, fours, fours, twos, twos, twos, np.zeros(shape), assumed, patience
    )
    return empty.started_again()


def _average(stratified: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weighted, weights = stratified[..., 0], stratified[..., 1]
    average: npt.NDArray[np.float64] = np.divide(
        weighted, weights, out=np.full(weights.shape, np.nan), where=weights > 0
    )
    return average
