"""Extract the lines of a pod's log that show why it failed, without the lines of Kubeflow Pipelines and Argo.

The formats of lines are those of Kubeflow Pipelines 2.17 and Argo 4.0. Drivers and launchers write with Go's glog
(`F1126 19:31:24.543210 17 main.go:127] message`). Argo's executor writes `time=... level=...` and
`Error: exit status 1`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from slipway.components.clients.credentials import without_credentials

LINES, WIDTH = 12, 500
"""Most lines of an excerpt, and most characters of a line."""

GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ [\w.-]+\.go:\d+\] ?(.*)")
ARGO = re.compile(r"time=\S+ level=\w+ msg=|Error: (exit status \d+|signal: \w+)$")
DRIVER = re.compile(r"KFP driver: (?:driver\.\w+\(.*?\) failed: )?")
"""The text that a driver writes before the cause: its function and what identifies the task."""

LAUNCHED = re.compile(r"failed to execute component: exit status \d+$|Component failed to execute successfully: ")
"""The error of a launcher whose program failed. It is dropped, since the program has written the error itself."""

TRACEBACK = "Traceback (most recent call last):"
MARKS = re.compile(r"\s+[~^]+$")
EXECUTOR = re.compile(r"\[KFP Executor \S+ \S+ (DEBUG|INFO|WARNING)\]")
EXECUTOR_INPUT = re.compile(r"\[KFP Executor .*Got executor_input:$")
WARNING = re.compile(r"(\S+:\d+: )?\w*Warning: |WARNING[: ]")
PIP = re.compile(
    r"\[notice\]|Collecting |Requirement already satisfied|\s*(Downloading|Using cached|Preparing metadata) "
    r"|Installing collected packages|Successfully installed|Looking in (indexes|links)|DEPRECATION: "
)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def driver_error(log: str) -> list[str]:
    """The last error of a driver that rejected its task, from the cause on; empty when the log has none."""
    error_lines: list[str] = []
    in_error = False
    for line in _lines(log):
        if match := GLOG.match(line):
            in_error = match[1] == "F" or (match[1] == "E" and not error_lines)
            error_lines = [DRIVER.sub("", match[2], count=1)] if in_error else error_lines
        elif line.startswith("panic: "):
            error_lines, in_error = [line], False
        elif ARGO.match(line):
            in_error = False
        elif in_error:
            error_lines.append(line)
    return [cut(line) for line in error_lines[:LINES]]


def last_lines(log: str) -> list[str]:
    """The last lines of a step's program. Of a traceback, they are the last frame and the error.

    At most `LINES` lines of `WIDTH` characters.
    """
    lines = list(_without_noise(_lines(log)))
    error = _end_of_traceback(lines)
    if error is None or len(lines) - error > LINES:  # no traceback, or the program went on after it
        return [cut(line) for line in lines[-LINES:]]
    begin = error
    while begin and lines[begin - 1].startswith(" ") and not lines[begin].startswith("  File "):
        begin -= 1
    return [cut(line) for line in lines[begin:] if not MARKS.match(line)][:LINES]


def error_of(lines: Sequence[str]) -> str:
    """The line of `last_lines` that has the error; empty when there are no lines."""
    not_indented = (line for line in lines if not line.startswith(" "))
    return next(not_indented, "") if lines and lines[0].startswith("  File ") else (lines[-1].strip() if lines else "")


def cut(line: str) -> str:
    """A line without credentials. The middle of a line that is too long is left out: its end is kept, since a chain of
    errors ends with the root cause.
    """
    line = without_credentials(line)
    half = (WIDTH - 3) // 2
    return line if len(line) <= WIDTH else f"{line[:half]} … {line[-half:]}"


def _end_of_traceback(lines: list[str]) -> int | None:
    """The index of the line with the error of the last traceback; None without a traceback."""
    if TRACEBACK not in lines:
        return None
    start = len(lines) - lines[::-1].index(TRACEBACK)
    return next((i for i in range(start, len(lines)) if not lines[i].startswith(" ")), None)


def _lines(log: str) -> list[str]:
    """Lines as a terminal finally shows them: without colours, and with the last state of a progress bar."""
    lines = [COLOURS.sub("", line).rstrip() for line in log.split("\n")]
    return [line.rpartition("\r")[2] for line in lines if line.strip()]


def _without_noise(lines: Iterable[str]) -> Iterator[str]:
    """Drop warnings, and the lines of pip, kfp and Argo."""
    inside = ""  # the kind of the present noise, when it has several lines
    for line in lines:
        if inside == "input":
            inside = "" if line == "}" else inside
        elif inside == "warning" and line.startswith("  "):
            inside = ""  # the second line of a warning: the code that caused it
        elif EXECUTOR_INPUT.match(line):
            inside = "input"
        elif WARNING.match(line):
            inside = "warning"
        else:
            inside = ""
            match = GLOG.match(line)
            if match and match[1] in "EF" and not LAUNCHED.match(match[2]):
                yield match[2]
            elif not (match or ARGO.match(line) or EXECUTOR.match(line) or PIP.match(line)):
                yield line
