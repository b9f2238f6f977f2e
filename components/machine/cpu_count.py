"""How many processors this process may use, within its CPU affinity and the limit of its container."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = CGROUP) -> int:
    """The number of processors that this process may run on, at most its container's CPU limit, rounded up.

    Args:
        cgroup: where control groups are mounted, version 2 or 1.
    """
    allowed = len(os.sched_getaffinity(0))
    quota, period = _limit(cgroup)
    return min(allowed, max(1, math.ceil(quota / period))) if quota > 0 else allowed


def _limit(cgroup: Path) -> tuple[int, int]:
    """CPU time in each period and the length of a period, both in microseconds; (0, 1) without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period"))
        except OSError:
            return 0, 1
    return (int(quota), int(period)) if quota.strip() not in ("max", "-1") else (0, 1)
