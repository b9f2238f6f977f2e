"""What the audit log says of requests by callers that nobody knows: a sample, and the number of all others.

Anybody can make such requests, at any rate. Were each of them a line, a single connection would fill the disk, or push
the lines of real callers out of a log of limited size.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from slipway.serving.telemetry.metrics import AUDIT_LEFT_OUT
from slipway.serving.telemetry.rate_limit import Pace

RATE, BURST = 1.0, 60
"""Lines of strangers: a second in the long run, and at once."""
REPORT_S = 10.0
"""Between two lines that say how many were left out."""


class Strangers:
    """Decides which of their requests get a line.

    Args:
        now: the time, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._pace = Pace(RATE, BURST, now)
        self._left_out: Counter[int] = Counter()
        self._report_at = 0.0

    def wants(self, status: int) -> bool:
        """Whether a request that ended so gets a line; it is counted otherwise."""
        if self._pace.allows():
            return True
        if not self._left_out:
            self._report_at = self._now() + REPORT_S
        self._left_out[status] += 1
        AUDIT_LEFT_OUT.inc()
        return False

    def report(self, at_once: bool = False) -> dict[str, Any] | None:
        """A record of how many were left out since the last one, by status, if it is time for it."""
        if not self._left_out or (not at_once and self._now() < self._report_at):
            return None
        left_out, self._left_out = self._left_out, Counter()
        codes = {str(status): count for status, count in sorted(left_out.items())}
        return {"event": "left_out", "records": left_out.total(), "statuses": codes}
