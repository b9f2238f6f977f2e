"""`python -m benchmarks.rollout`: simulate rollouts, print the tables, write them as JSON."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.rollout import tables
from benchmarks.rollout.cases import CASES
from slipway.components.rollout.settings import RolloutSettings


def main() -> int:
    """Exit code 1 when a rate of wrong decisions is above what is allowed."""
    parser = argparse.ArgumentParser(prog="benchmarks.rollout", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="simulated rollouts per case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/rollout/results.json"))
    given = parser.parse_args()
    settings = RolloutSettings()
    cases = []
    for number, case in enumerate(CASES):
        print(f"{case.name} …", file=sys.stderr, flush=True)
        cases.append(tables.decided(case, given.runs, settings, given.seed + number))
    found = [row for share in (0.5, 0.1) for row in tables.found(given.runs, settings, share, given.seed)]
    results = {
        "runs": given.runs,
        "seed": given.seed,
        "settings": settings.model_dump(),
        "cases": cases,
        "found": found,
    }
    given.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(tables.markdown(results))
    return 0 if all(row["holds"] is not False for row in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
