"""The files of tests that take seconds, in `slow_files.txt`, the slowest first. `make test-fast` leaves them out, and
`make test` begins with them, so that none of them is left at the end while the other processes have nothing to do.

    python -m tests.slow_files              prints all other files
    python -m tests.slow_files REPORT.xml   writes the list anew from the JUnit report of a run of all tests
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

LIMIT_S = 2.0
FOLDER = Path(__file__).parent
LIST = FOLDER / "slow_files.txt"


def listed() -> list[str]:
    """The paths of the slow files below the root of the repository, the slowest first."""
    return LIST.read_text("utf-8").split()


def measured(report: Path) -> list[str]:
    """The files whose tests took more than the limit together, by a JUnit report; the slowest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        module = [part for part in case.attrib["classname"].split(".") if not part.startswith("Test")]
        seconds["/".join(module) + ".py"] += float(case.attrib["time"])
    slowest_first = sorted(seconds, key=lambda path: -seconds[path])
    return [path for path in slowest_first if seconds[path] > LIMIT_S]


def quick() -> list[str]:
    """All other files with tests."""
    slow = set(listed())
    paths = (path.relative_to(FOLDER.parent).as_posix() for path in sorted(FOLDER.rglob("test_*.py")))
    return [path for path in paths if path not in slow and not path.startswith("tests/cluster/")]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        LIST.write_text("".join(f"{path}\n" for path in measured(Path(sys.argv[1]))), "utf-8")
    else:
        print(*quick())
