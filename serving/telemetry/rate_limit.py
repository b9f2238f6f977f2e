"""A rate limit for log lines and audit records that anybody can cause."""

import time
from collections.abc import Callable


class RateLimit:
    """A token bucket, in the form of the generic cell rate algorithm (ITU-T I.371).

    Args:
        rate: events a second in the long run.
        burst: events at once after a pause.
        now: a monotonic clock, seconds.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._burst, self._now = 1 / rate, burst, now
        self._full_at = 0.0

    def allows(self) -> bool:
        """Whether one more event is allowed; an allowed one is counted."""
        now = self._now()
        full_at = max(now, self._full_at)
        allowed = full_at - now <= (self._burst - 1) * self._interval
        if allowed:
            self._full_at = full_at + self._interval
        return allowed
