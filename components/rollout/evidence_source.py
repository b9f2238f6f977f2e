"""Gathers a rollout's evidence for its phases: from client traffic where there is enough of it, else from probes."""

from collections.abc import Callable, Sequence

from slipway.components.rollout.counter_resets import Tally
from slipway.components.rollout.probes import Probes
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import RolloutState
from slipway.components.rollout.target import Counts, Pair, RolloutTarget, histogram

ENOUGH_SHARE = 0.25
"""Client traffic suffices when it brings the requests that a step waits for within this part of its time limit."""

LOOKS = 4
"""Looks at a block of slow answers while a step waits for its least time."""


class Gatherer:
    """Waits for client requests or sends probes, and adds the target's counts to the state of the rollout.

    Args:
        target: counts the requests.
        probes: replayed when clients send too few requests.
        settings: how many requests to wait for, and for how long.
        now: returns a monotonic time, in seconds.
        pause: sleeps for a number of seconds.
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
        self._last_tick = now()
        self._window = (now(), 0)
        """When client requests were counted last, and how many there were."""
        self._client_rate: float | None = None
        """Client requests per second; None before it is measured."""

    def look(self, state: RolloutState, wanted: int, share: float) -> str:
        """Wait for requests, then add the counts to the state.

        Args:
            state: of the rollout.
            wanted: number of requests that the present step waits for.
            share: the part of all requests that counts for the step, from 0 to 1.

        Returns:
            `client traffic` or `probes`: the source of this look's requests.
        """
        source, _ = self._wait_for_requests(state, wanted, share)
        self.observe(state)
        return source

    def wait(self, state: RolloutState) -> str:
        """Pause, then add the counts to the state: for a step that has its evidence and not yet its least time."""
        self._pause(max(self.settings.poll_s, self.settings.window_s / LOOKS))
        self.observe(state)
        return "least time"

    def look_at_copies(self, state: RolloutState, wanted: int, share: float) -> str:
        """Wait for requests, then add both revisions' answers to the copies of them to the state.

        Agreement counts once for each text of a client, and not for probes, which the phase `compare` has counted.
        Failures and latencies count for every copy. Arguments and result are those of `look`.
        """
        source, texts = self._wait_for_requests(state, wanted, share)
        pairs = self.target.shadow_pairs(texts)
        self.observe(state)
        state.copied += len(pairs)
        seen = set(state.copies_seen)
        for pair in pairs:
            if pair.key not in self.probes and pair.key not in seen:
                seen.add(pair.key)
                state.copies_seen.append(pair.key)
                state.evidence = state.evidence.with_copy(pair)
        old, new = counts_of(pairs)
        state.evidence = state.evidence.with_block(old, new, state.window_ends(self.settings.window_s))
        return source

    def _wait_for_requests(self, state: RolloutState, wanted: int, share: float) -> tuple[str, list[str]]:
        """Wait for client requests, or send probes when there are too few; return the source and the probes."""
        if self._client_rate is None:  # the first look measures how many requests clients send by themselves
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
        """Add the time since the last call to the rollout's time."""
        now = self._now()
        passed = max(now - self._last_tick, 0.0)  # a clock that was set back takes no time away
        state.elapsed_s += passed
        state.spent_s += passed
        self._last_tick = now

    def _clients_suffice(self, wanted: int, share: float) -> bool:
        rate = self._client_rate or 0.0
        return rate * share * self.settings.step_time_limit_s * ENOUGH_SHARE >= wanted

    def observe(self, state: RolloutState) -> None:
        """Add the target's counts to the state, and measure the rate of client requests."""
        for version, counts in self.target.observe().items():
            state.tallies[version] = state.tallies.get(version, Tally()).updated(counts)
        self.tick(state)
        since, clients = self._window
        if (passed := self._now() - since) >= self.settings.poll_s:
            self._client_rate = (state.clients - clients) / passed
            self._window = (self._now(), state.clients)


def counts_of(pairs: Sequence[Pair]) -> tuple[Counts, Counts]:
    """Counts of (champion, challenger) for texts that were sent to both."""
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
