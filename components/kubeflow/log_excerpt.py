"""The few lines of a step's log that say why it failed, without what Kubeflow Pipelines and Argo write around it.

The forms of lines are those of Kubeflow Pipelines 2.17 and Argo 4.0: drivers and launchers write with Go's glog
(`F1126 19:31:24.543210 17 main.go:127] words`), Argo's executor writes `time=... level=...` and `Error: exit status 1`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from slipway.components.clients.credentials import without_credentials

LINES, WIDTH = 12, 500
"""The most lines of an excerpt, and characters of each."""

GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ [\w.-]+\.go:\d+\] ?(.*)")
ARGO = re.compile(r"time=\S+ level=\w+ msg=|Error: (exit status \d+|signal: \w+)$")
DRIVER = re.compile(r"KFP driver: (?:driver\.\w+\(.*?\) failed: )?")
"""What a driver puts before the cause: its function, with all that identifies the task."""

LAUNCHED = re.compile(r"failed to execute component: exit status \d+$|Component failed to execute successfully: ")
"""What a launcher says when the program that it started failed; the program has said more."""

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
    """What a driver that refused its task said last, from the cause on; empty when it said nothing of the kind."""
    found: list[str] = []
    goes_on = False
    for line in _lines(log):
        if begins := GLOG.match(line):
            goes_on = begins[1] == "F" or (begins[1] == "E" and not found)
            found = [DRIVER.sub("", begins[2], count=1)] if goes_on else found
        elif line.startswith("panic: "):
            found, goes_on = [line], False
        elif ARGO.match(line):
            goes_on = False
        elif goes_on:
            found.append(line)
    return [cut(line) for line in found[:LINES]]


def telling(log: str) -> list[str]:
    """The last lines of a step's program that are no noise; of a traceback its end: where it was, and the error."""
    lines = list(_without_noise(_lines(log)))
    error = _end_of_traceback(lines)
    if error is None or len(lines) - error > LINES:  # the program went on after it
        return [cut(line) for line in lines[-LINES:]]
    begin = error
    while begin and lines[begin - 1].startswith(" ") and not lines[begin].startswith("  File "):
        begin -= 1
    return [cut(line) for line in lines[begin:] if not MARKS.match(line)][:LINES]


def error_of(lines: Sequence[str]) -> str:
    """The line of `telling` that names the error; empty when there are no lines."""
    flush = (line for line in lines if not line.startswith(" "))
    return next(flush, "") if lines and lines[0].startswith("  File ") else (lines[-1].strip() if lines else "")


def cut(line: str) -> str:
    """A line without logins; of one that is too long the begin and the end, where a chain of errors has its root."""
    line = without_credentials(line)
    half = (WIDTH - 3) // 2
    return line if len(line) <= WIDTH else f"{line[:half]} … {line[-half:]}"


def _end_of_traceback(lines: list[str]) -> int | None:
    """Where the error of the last traceback is."""
    if TRACEBACK not in lines:
        return None
    start = len(lines) - lines[::-1].index(TRACEBACK)
    return next((i for i in range(start, len(lines)) if not lines[i].startswith(" ")), None)


def _lines(log: str) -> list[str]:
    """Lines as a terminal shows them in the end: without colours, and with the last state of a progress bar."""
    whole = [COLOURS.sub("", line).rstrip() for line in log.split("\n")]
    return [line.rpartition("\r")[2] for line in whole if line.strip()]


def _without_noise(lines: Iterable[str]) -> Iterator[str]:
    inside = ""  # noise that goes on over several lines
    for line in lines:
        if inside == "input":
            inside = "" if line == "}" else inside
        elif inside == "warning" and line.startswith("  "):
            inside = ""  # the line of code that warns
        elif EXECUTOR_INPUT.match(line):
            inside = "input"
        elif WARNING.match(line):
            inside = "warning"
        else:
            inside = ""
            words = GLOG.match(line)
            if words and words[1] in "EF" and not LAUNCHED.match(words[2]):
                yield words[2]
            elif not (words or ARGO.match(line) or EXECUTOR.match(line) or PIP.match(line)):
                yield line
