"""Configures the log on the standard error: short lines, and a limited rate of each kind of warning.

Clients cause warnings, even clients without a key. So of a kind of warning that comes too often only a sample is
written, with the number of those left out. Long lines are cut, since a line may quote a request.
"""

import logging

from slipway.serving.telemetry.metrics import LOG_LEFT_OUT
from slipway.serving.telemetry.rate_limit import RateLimit

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
CHARACTERS = 2000
"""Most characters of a line. Of a traceback, the last 5 * CHARACTERS are kept."""
RATE, BURST = 2.0, 100
"""Warnings of one kind: most a second in the long run, and most at once."""
KINDS = 200
"""Most kinds that are counted apart; all others are counted as one kind."""


def configure() -> None:
    """Configure the log of this process."""
    handler = logging.StreamHandler()
    handler.setFormatter(ShortLines(FORMAT))
    handler.addFilter(WarningLimit())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO)


class ShortLines(logging.Formatter):
    """Formats log records, and cuts long lines and tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line without the traceback, cut."""
        line = super().formatMessage(record)
        return line if len(line) <= CHARACTERS else f"{line[:CHARACTERS]}… ({len(line)} characters)"

    def formatException(self, ei: object) -> str:  # noqa: N802
        """The end of the traceback, which has the innermost frames and the message."""
        return super().formatException(ei)[-5 * CHARACTERS :]  # type: ignore[arg-type]


class WarningLimit(logging.Filter):
    """Leaves out warnings of a kind that comes too often. A kind is a logger and a message before its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, RateLimit] = {}
        self._left_out: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno != logging.WARNING:
            return True
        kind: object = (record.name, record.msg)
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = None  # some library formats its messages itself, so that each is a kind of its own
        if not self._kinds.setdefault(kind, RateLimit(RATE, BURST)).allows():
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            LOG_LEFT_OUT.inc()
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} (left out before: {left_out})", ()
        return True
