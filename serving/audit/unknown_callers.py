"""Limits the audit records of requests by unknown callers to a sample, and counts the others.

Anybody can send such requests, at any rate. If each had a line, a single connection could fill the disk, or push the
lines of real callers out of a log of limited size.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from slipway.serving.telemetry.metrics import AUDIT_LEFT_OUT
from slipway.serving.telemetry.rate_limit import RateLimit

RATE, BURST = 1.0, 60
"""Lines about unknown callers: most a second in the long run, and most at once."""
REPORT_S = 10.0
"""Shortest time between two lines with the number of requests that were left out."""


class UnknownCallers:
    """Decides which requests of unknown callers get a line in the audit log.

    Args:
        now: a monotonic clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._rate_limit = RateLimit(RATE, BURST, now)
        self._left_out: Counter[int] = Counter()
        self._report_at = 0.0

    def wants(self, status: int) -> bool:
        """Whether a request with this HTTP status gets a line. Otherwise it is counted as left out."""
        if self._rate_limit.allows():
            return True
        if not self._left_out:
            self._report_at = self._now() + REPORT_S
        self._left_out[status] += 1
        AUDIT_LEFT_OUT.inc()
        return False

    def report(self, at_once: bool = False) -> dict[str, Any] | None:
        """A record of how many were left out since the last such record, by status.

        Args:
            at_once: whether to make it before its time.

        Returns:
            the record; None if none were left out, or if it is too early.
        """
        if not self._left_out or (not at_once and self._now() < self._report_at):
            return None
        left_out, self._left_out = self._left_out, Counter()
        codes = {str(status): count for status, count in sorted(left_out.items())}
        return {"event": "left_out", "records": left_out.total(), "statuses": codes}
