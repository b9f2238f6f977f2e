"""The log on the standard error: short lines, and not more of a kind than somebody reads.

Warnings are what clients cause, those without a key too. So a kind of warning that comes too often is written now and
then only, with the number of those that were left out, and no line is long, whatever of a request got into it.
"""

import logging

from slipway.serving.telemetry.metrics import LOG_LEFT_OUT
from slipway.serving.telemetry.rate_limit import Pace

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
CHARACTERS = 2000
"""Of a line; of an error's traceback five times as many, the last ones."""
RATE, BURST = 2.0, 100
"""Warnings of a kind: a second in the long run, and at once."""
KINDS = 200


def configure() -> None:
    """Write the log of this process so."""
    handler = logging.StreamHandler()
    handler.setFormatter(ShortLines(FORMAT))
    handler.addFilter(Sparing())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("serving").setLevel(logging.INFO)


class ShortLines(logging.Formatter):
    """Cuts what is long."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line."""
        line = super().formatMessage(record)
        return line if len(line) <= CHARACTERS else f"{line[:CHARACTERS]}… ({len(line)} characters)"

    def formatException(self, ei: object) -> str:  # noqa: N802
        """The traceback, whose end says most."""
        return super().formatException(ei)[-5 * CHARACTERS :]  # type: ignore[arg-type]


class Sparing(logging.Filter):
    """Leaves out warnings of a kind that comes too often; what tells kinds apart is the text before it is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, Pace] = {}
        self._left_out: dict[object, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if record.levelno != logging.WARNING:
            return True
        kind: object = (record.name, record.msg)
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = None  # a library that writes no constant texts
        if not self._kinds.setdefault(kind, Pace(RATE, BURST)).allows():
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            LOG_LEFT_OUT.inc()
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.msg, record.args = f"{record.getMessage()} (left out before: {left_out})", ()
        return True
