"""What is said about a failed launch."""

import pytest

from slipway.components.train.launcher import _WorkerOutput

KILLED = """\
[rank0]: RuntimeError: Connection closed by peer
W1124 torch/distributed/elastic/multiprocessing/api.py:1045] Sending process 4653 closing signal SIGTERM
E1124 torch/distributed/elastic/multiprocessing/api.py:1010] failed (exitcode: -9) local_rank: 1 (pid: 4654)
  exitcode  : -15 (pid: 4653)
"""
FAILED = """\
[rank1]: MemoryError: no room

E1124 torch/distributed/elastic/multiprocessing/api.py:1010] failed (exitcode: 1) local_rank: 1 (pid: 4654)
  traceback : To enable traceback see
"""


@pytest.mark.parametrize(
    ("output", "cause", "end"),
    [
        (KILLED, "a training worker was killed by SIGKILL, perhaps for lack of memory", ""),
        (FAILED, "a training worker failed", "; it ends with:\n[rank1]: MemoryError: no room"),
    ],
    ids=["killed", "failed"],
)
def test_the_cause_is_told_apart_from_what_follows_from_it(output: str, cause: str, end: str) -> None:
    words = _WorkerOutput()
    for line in output.splitlines(keepends=True):
        words.take(line)
    assert (words.cause(), words.end()) == (cause, end)
