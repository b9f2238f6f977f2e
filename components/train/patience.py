"""How long a job may be held, without pods and at work, and what a person is told while it waits.

The training operator (1.9) looks at a job's `activeDeadlineSeconds` only when something else makes it look at the job,
so a job that hangs outlives its deadline: the launcher counts too. Both count from the last time that a held job was
let go.
"""

import time
from collections.abc import Callable

from slipway.components.errors import SlipwayError
from slipway.components.step_runtime import progress

STEP = "train"
OPERATOR_SECONDS = 50.0
"""A training operator that runs has made the pods by then."""

REPEAT_SECONDS = 60.0
"""What does not change is told again after this time."""


class Patience:
    """Watches one job from look to look.

    Args:
        job: what it is called in messages.
        deadline_s: seconds that it may be held, and that it may work.
        clock: seconds that only rise.
    """

    def __init__(self, job: str, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.job, self.deadline_s, self.clock = job, deadline_s, clock
        self._held = False
        self._since = self._pods = self._told = clock()
        self._words = ""

    def check(self, why_held: str, has_pods: bool, without_node: str = "") -> None:
        """Take note of how the job looks now, and tell what it waits for.

        Args:
            why_held: why the job does not start, to follow its name; empty when it may.
            has_pods: whether it has pods.
            without_node: which of them waits for a node, and why; empty when none does.

        Raises:
            SlipwayError: it was in this state for too long.
        """
        now = self.clock()
        held = bool(why_held)
        if held != self._held:
            if self._held:
                progress.report(STEP, f"{self.job} may start, after {now - self._since:.0f} s")
            self._held, self._since = held, now
        if held or has_pods:
            self._pods = now
        if now - self._since > self.deadline_s:
            did = why_held or "is not done; a new run goes on from the last checkpoint"
            raise SlipwayError(f"{self.job} {did} (after cluster.deadline_s, {self.deadline_s:g} s)")
        if now - self._pods > OPERATOR_SECONDS:
            advice = "see whether the training operator runs"
            raise SlipwayError(f"{self.job} has had no pods for {OPERATOR_SECONDS:.0f} s; {advice}")
        self._tell(f"{self.job} {why_held}" if held else without_node, now)

    def _tell(self, words: str, now: float) -> None:
        if words and (words != self._words or now - self._told >= REPEAT_SECONDS):
            waited = f" (for {now - self._since:.0f} s)" if words == self._words else ""
            progress.report(STEP, words + waited)
            self._told = now
        self._words = words
