"""The command-line options of the audit log: where it is written, and what it contains."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.components.errors import BadInput

if TYPE_CHECKING:
    from slipway.serving.audit.audit_log import AuditLog

logger = logging.getLogger("serving")
STANDARD_OUTPUT = "-"
FLUSH_SECONDS, FILE_BYTES = 0.2, 64 * 2**20


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    group = parser.add_argument_group("audit log: one line per request, chained by hashes")
    add = group.add_argument
    add("--audit", default="", metavar="FOLDER", help="folder of this server's own; - for the standard output")
    add(
        "--audit_key",
        type=Path,
        metavar="FILE",
        help="key of the hashes: who has it not cannot rewrite the log",
    )
    add(
        "--audit_head",
        type=Path,
        metavar="FILE",
        help="where the log's end is noted each minute, to see later that it was not cut; not in the log's folder",
    )
    add("--audit_texts", action="store_true", help="keep texts, without e-mail addresses, card, phone and IBAN numbers")
    add(
        "--audit_flush_seconds",
        type=float,
        default=FLUSH_SECONDS,
        metavar="S",
        help="a killed server loses no line that is older than this (default: %(default)s)",
    )
    add("--audit_file_bytes", type=int, default=FILE_BYTES, metavar="N", help="size of a file (default: %(default)s)")
    add("--audit_keep", type=int, default=0, metavar="N", help="delete all but the newest N files (default: keep all)")


def audit_of(options: argparse.Namespace) -> "AuditLog | None":
    """Open the audit log; returns None if the options ask for none.

    Raises:
        BadInput: an option has a bad value, or the log cannot be opened.
    """
    from slipway.serving.audit.audit_log import AuditLog, key_of
    from slipway.serving.audit.files import FolderSink, StreamSink
    from slipway.serving.audit.heads import HeadNotes

    if not options.audit:
        if options.audit_key or options.audit_texts or options.audit_head:
            raise BadInput("--audit_key, --audit_head and --audit_texts need --audit FOLDER, where the log goes")
        return None
    if not 0 < options.audit_flush_seconds <= 60:
        raise BadInput(f"--audit_flush_seconds is {options.audit_flush_seconds:g}; expected more than 0 and at most 60")
    if options.audit_file_bytes < 1:
        raise BadInput(f"--audit_file_bytes is {options.audit_file_bytes}; expected at least 1")
    if options.audit_keep < 0 or options.audit_keep == 1:  # with one, the log would have no line before a new file
        raise BadInput(f"--audit_keep is {options.audit_keep}; expected 0 for all, or at least 2")
    key = key_of(options.audit_key)
    if key is None:
        logger.warning("event=audit_without_key who can write the log can rewrite it unseen; give --audit_key FILE")
    stream, head = options.audit == STANDARD_OUTPUT, options.audit_head
    if head and (stream or head.absolute().is_relative_to(Path(options.audit).absolute())):
        raise BadInput(f"--audit_head is {head}; expected a file elsewhere than in the folder of --audit")
    sink = (
        StreamSink(sys.stdout.buffer)
        if stream
        else FolderSink(Path(options.audit), options.audit_file_bytes, options.audit_keep)
    )
    return AuditLog(sink, key, options.audit_flush_seconds, options.audit_texts, HeadNotes(head))
