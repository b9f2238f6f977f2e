"""Simulated traffic: how many requests come between two looks, where they go, which fail and which are slow."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Numbers = npt.NDArray[Any]

UNDER_LOAD = 0.5
"""The challenger's share of traffic from which on harm shows that comes with load."""
GAP = 120
"""Looks between two busy spells of a revision, on average."""
BUSY = 0.9
"""Part of the answers that are slow in a busy spell."""
DAY = 240
"""Looks in a day."""
SPREAD = 0.5
"""Standard deviation of the logarithm of a latency."""


@dataclass(frozen=True)
class Case:
    """Two models under one kind of traffic."""

    name: str
    errors: tuple[float, float] = (0.01, 0.01)
    """Shares of failed requests: (champion, challenger)."""
    under_load: float | None = None
    """The challenger's share of failed requests once it has half of the traffic; None: as before."""
    answers: tuple[float, float] = (0.04, 0.04)
    """Parts of the labelled texts that (the champion, the challenger) alone has right."""
    slower: float = 1.0
    """The challenger's latency as a multiple of the champion's."""
    truth: Literal["no worse", "between", "worse"] = "no worse"
    """Whether a rollback is wrong, either verdict is right, or a promotion is wrong."""
    arrivals: Literal["even", "bursty", "weekday"] = "even"
    clients: float = 0.0
    """Intraclass correlation of a client's requests; 0: requests are independent."""
    session: int = 10
    """Requests of one client between two looks, where clients matter."""
    rate: int = 40
    """Mean number of requests between two looks."""
    sticky: bool = False
    """Whether all requests of a client go to one revision."""
    incidents: float = 0.0
    """Part of the periods in which three requests in ten fail, and half are slow, at both revisions."""
    lost: float = 0.0
    """Part of the challenger's requests that are never counted."""
    spells: tuple[int, int] | None = None
    """Shortest and longest busy spell, in looks; each revision has spells of its own."""

    def slow(self, factor: float) -> tuple[float, float]:
        """Shares of answers above the champion's 95th percentile times `factor`, for log-normal latencies."""
        limit = norm.ppf(0.95) + np.log(factor) / SPREAD
        return float(norm.sf(limit)), float(norm.sf(limit - np.log(self.slower) / SPREAD))


@dataclass(frozen=True)
class Period:
    """What was counted between two looks, by rollout: requests, failed and slow ones of (champion, challenger)."""

    requests: tuple[Numbers, Numbers]
    failed: tuple[Numbers, Numbers]
    slow: tuple[Numbers, Numbers]


def busy_spells(case: Case, runs: int, looks: int, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """When each revision is busy, shape (looks, 2, runs)."""
    busy = np.zeros((looks, 2, runs), bool)
    if case.spells is None:
        return busy
    shortest, longest = case.spells
    left = np.zeros((2, runs), int)
    for look in range(looks):
        begins = (left == 0) & (random.random((2, runs)) < 1 / GAP)
        left = np.where(begins, random.integers(shortest, longest + 1, (2, runs)), np.maximum(left - 1, 0))
        busy[look] = left > 0
    return busy


def period(
    case: Case,
    share: float,
    look: npt.NDArray[np.int64],
    random: np.random.Generator,
    slow_factor: float = 1.0,
    busy: npt.NDArray[np.bool_] | None = None,
) -> Period:
    """One period of every rollout.

    Args:
        case: what happens.
        share: the challenger's share of traffic.
        look: the number of the period by rollout; it says what time of the day it is.
        random: source of chance.
        slow_factor: answers are slow above the champion's 95th percentile times this.
        busy: whether (champion, challenger) has a busy spell, shape (2, rollouts); None for never.
    """
    runs, rate = len(look), case.rate
    chances = case.errors if case.under_load is None or share < UNDER_LOAD else (case.errors[0], case.under_load)
    rise = 1 + 0.8 * np.sin(2 * np.pi * look / DAY) if case.arrivals == "weekday" else np.ones(runs)
    level = rise * (random.gamma(0.5, 2.0, runs) if case.arrivals == "bursty" else 1.0)
    bad_moment = random.random(runs) < case.incidents
    errors = [np.where(bad_moment, 0.3, np.minimum(rise * chance, 1.0)) for chance in chances]
    slow = [np.where(bad_moment, 0.5, np.minimum(rise * chance, 1.0)) for chance in case.slow(slow_factor)]
    if busy is not None:
        slow = [np.where(spell, BUSY, chance) for spell, chance in zip(busy, slow, strict=True)]
    if case.clients:
        requests, failed = _by_client(case, share, rate * level, errors, random)
    else:
        total = random.poisson(rate * level)
        new = random.binomial(total, share)
        requests = (total - new, new)
        failed = (random.binomial(requests[0], errors[0]), random.binomial(requests[1], errors[1]))
    if case.lost:
        fine, bad = (random.binomial(count, 1 - case.lost) for count in (requests[1] - failed[1], failed[1]))
        requests, failed = (requests[0], fine + bad), (failed[0], bad)
    late = (random.binomial(requests[0], slow[0]), random.binomial(requests[1], slow[1]))
    return Period(requests, failed, late)


def _by_client(
    case: Case, share: float, rate: Numbers, errors: list[Numbers], random: np.random.Generator
) -> tuple[tuple[Numbers, Numbers], tuple[Numbers, Numbers]]:
    """Clients with a chance of failure of their own (Beta-distributed), each with `session` requests in a period."""
    sessions = random.poisson(rate / case.session)
    here = np.arange(max(sessions.max(), 1))[None, :] < sessions[:, None]
    size = here.shape
    session = case.session
    to_new = random.binomial(1, share, size) * session if case.sticky else random.binomial(session, share, size)
    weight = 1 / case.clients - 1
    chances = [
        random.beta(np.broadcast_to(mean[:, None] * weight, size), np.broadcast_to((1 - mean[:, None]) * weight, size))
        for mean in errors
    ]
    counts = [(session - to_new) * here, to_new * here]
    failed = [random.binomial(count, chance).sum(axis=1) for count, chance in zip(counts, chances, strict=True)]
    return (counts[0].sum(axis=1), counts[1].sum(axis=1)), (failed[0], failed[1])
