"""Where a rollout's evidence comes from: the clients' own traffic where there is enough of it, else replayed probes."""

from collections.abc import Callable, Sequence

from slipway.components.rollout.counter_resets import Tally
from slipway.components.rollout.probes import Probes
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import RolloutState
from slipway.components.rollout.target import Counts, Pair, RolloutTarget, histogram

ENOUGH_SHARE = 0.25
"""Client traffic is enough when it would bring what a step waits for in this part of the step's time limit."""


class Gatherer:
    """Lets requests come, and counts them.

    Args:
        target: where they are counted.
        probes: what is replayed when clients send too little.
        settings: how much is waited for.
        now: seconds that only grow.
        pause: waits for so many seconds.
    """

    def __init__(
        self,
        target: RolloutTarget,
        probes: Probes,
        settings: RolloutSettings,
        now: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self.target, self.probes, self.settings = target, probes, settings
        self._now, self._pause = now, pause
        self._looked = now()
        self._window = (now(), 0)
        """When client requests were counted last, and how many there were."""
        self._client_rate: float | None = None

    def look(self, state: RolloutState, wanted: int, share: float) -> str:
        """Wait for requests, then take the counts into the state.

        Args:
            state: of the rollout.
            wanted: requests that the present step waits for.
            share: the part of all requests that counts for it, from 0 to 1.

        Returns:
            `client traffic` or `probes`: where this look's requests came from.
        """
        source, _ = self._let_come(state, wanted, share)
        self.observe(state)
        return source

    def look_at_copies(self, state: RolloutState, wanted: int, share: float) -> str:
        """Wait for requests, then take both revisions' answers to their copies into the state.

        Of a client's text counts whether they agree, once; of every copy whether and how fast both answered.
        Arguments and result as for `look`.
        """
        source, texts = self._let_come(state, wanted, share)
        pairs = self.target.shadow_pairs(texts)
        self.observe(state)
        state.copied += len(pairs)
        seen = set(state.copies_seen)
        for pair in pairs:
            if pair.key not in self.probes and pair.key not in seen:
                seen.add(pair.key)
                state.copies_seen.append(pair.key)
                state.evidence = state.evidence.with_copy(pair)
        state.evidence = state.evidence.with_block(*counts_of(pairs))
        return source

    def _let_come(self, state: RolloutState, wanted: int, share: float) -> tuple[str, list[str]]:
        """Wait for client requests, or send probes where they are too few; the source and the probes."""
        if self._client_rate is None:  # who comes without being asked?
            self.observe(state)
            self._window = (self._now(), state.clients)
            self._pause(self.settings.poll_s)
            self.observe(state)
        texts = self.probes.replay(state.position, self.settings.probe_batch)
        state.position += len(texts)
        if self._clients_suffice(wanted, share):
            self._pause(self.settings.poll_s)
            return "client traffic", texts
        state.probes += self.target.send(texts)
        return "probes", texts

    def tick(self, state: RolloutState) -> None:
        """Count the time since the last look to the rollout."""
        now = self._now()
        passed = max(now - self._looked, 0.0)  # a clock that was set back takes no time away
        state.elapsed_s += passed
        state.spent_s += passed
        self._looked = now

    def _clients_suffice(self, wanted: int, share: float) -> bool:
        rate = self._client_rate or 0.0
        return rate * share * self.settings.step_time_limit_s * ENOUGH_SHARE >= wanted

    def observe(self, state: RolloutState) -> None:
        """Take the counts into the state."""
        for version, counts in self.target.observe().items():
            state.tallies[version] = state.tallies.get(version, Tally()).updated(counts)
        self.tick(state)
        since, clients = self._window
        if (passed := self._now() - since) >= self.settings.poll_s:
            self._client_rate = (state.clients - clients) / passed
            self._window = (self._now(), state.clients)


def counts_of(pairs: Sequence[Pair]) -> tuple[Counts, Counts]:
    """What (champion, challenger) did with texts that both were asked."""
    sides = (
        [(pair.champion, pair.champion_ms) for pair in pairs],
        [(pair.challenger, pair.challenger_ms) for pair in pairs],
    )
    old, new = (
        Counts(
            len(side),
            sum(label is None for label, _ in side),
            histogram([ms for label, ms in side if label is not None and ms is not None]),
        )
        for side in sides
    )
    return old, new
