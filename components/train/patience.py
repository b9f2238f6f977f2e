"""Time limits of a job that is held, has no pods or is running, and progress messages while it waits.

The training operator (1.9) checks a job's `activeDeadlineSeconds` only when another event makes it look at the job. So
a job that hangs is not ended at its deadline, and the launcher must measure the time, too. Both measure from the last
time that a held job was released.
"""

import time
from collections.abc import Callable

from slipway.components.errors import SlipwayError
from slipway.components.step_runtime import progress
from slipway.components.train.config import STEP

OPERATOR_SECONDS = 50.0
"""A training operator that works has made the pods by then."""

REPEAT_SECONDS = 60.0
"""A message that does not change is reported again after this time."""


class Patience:
    """Measures the time of one job. The caller calls `check` with each look at the job.

    Args:
        job: name of the job in messages.
        deadline_s: seconds that the job may be held, and that it may run.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, job: str, deadline_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.job, self.deadline_s, self.clock = job, deadline_s, clock
        self._held = False
        self._since = self._pods = self._told = clock()
        self._words = ""

    def check(self, why_held: str, has_pods: bool, without_node: str = "") -> None:
        """Take note of the job's present state, and report what it waits for.

        Args:
            why_held: why the job does not start, as the end of a sentence that begins with its name; empty when it is
                not held.
            has_pods: whether it has pods.
            without_node: which pod waits for a node, and why; empty when none does.

        Raises:
            SlipwayError: the job was in this state for too long.
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
            problem = why_held or "is not done; a new run goes on from the last checkpoint"
            raise SlipwayError(f"{self.job} {problem} (after cluster.deadline_s, {self.deadline_s:g} s)")
        if now - self._pods > OPERATOR_SECONDS:
            advice = "see whether the training operator runs"
            raise SlipwayError(f"{self.job} has had no pods for {OPERATOR_SECONDS:.0f} s; {advice}")
        self._tell(f"{self.job} {why_held}" if held else without_node, now)

    def _tell(self, message: str, now: float) -> None:
        if message and (message != self._words or now - self._told >= REPEAT_SECONDS):
            waited = f" (for {now - self._since:.0f} s)" if message == self._words else ""
            progress.report(STEP, message + waited)
            self._told = now
        self._words = message
