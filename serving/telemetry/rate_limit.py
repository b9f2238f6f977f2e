"""So many of a kind in a second, and no more: for what is written of calls that anybody can make."""

import time
from collections.abc import Callable


class Pace:
    """A token bucket, as the generic cell rate algorithm (ITU-T I.371) keeps it.

    Args:
        rate: a second.
        burst: at once after a pause.
        now: the time, seconds.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._burst, self._now = 1 / rate, burst, now
        self._full_at = 0.0

    def allows(self) -> bool:
        """Whether one more may be; it counts as done if so."""
        now = self._now()
        full_at = max(now, self._full_at)
        allowed = full_at - now <= (self._burst - 1) * self._interval
        if allowed:
            self._full_at = full_at + self._interval
        return allowed
