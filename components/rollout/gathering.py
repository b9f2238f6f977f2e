"""Where a rollout's evidence comes from: the clients' own traffic where there is enough of it, else replayed probes."""

from collections.abc import Callable

from components.rollout.counting import Tally
from components.rollout.probes import Probes
from components.rollout.settings import RolloutSettings
from components.rollout.state import RolloutState
from components.rollout.target import RolloutTarget

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
        if self._client_rate is None:  # who comes without being asked?
            self.observe(state)
            self._window = (self._now(), state.clients)
            self._pause(self.settings.poll_s)
            self.observe(state)
        clients_suffice = self._clients_suffice(wanted, share)
        if clients_suffice:
            self._pause(self.settings.poll_s)
        else:
            batch = self.settings.probe_batch
            state.probes += self.target.send(self.probes.replay(state.position, batch))
            state.position += batch
        self.observe(state)
        return "client traffic" if clients_suffice else "probes"

    def tick(self, state: RolloutState) -> None:
        """Count the time since the last look to the rollout."""
        now = self._now()
        state.elapsed_s += now - self._looked
        state.spent_s += now - self._looked
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
