"""`python -m benchmarks.serving.before CHECKOUT`: the server here beside that of another commit, in turns.

    git worktree add ../before COMMIT && python -m benchmarks.serving.before ../before

Both run at the same time, and one at a time is asked: what else the machine does meets both alike. A ratio is that of
the medians of all rounds.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.serving import models, servers
from benchmarks.serving.__main__ import CLOSED, read_texts
from benchmarks.serving.load import closed_loop, http_request


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving.before", description=__doc__)
    parser.add_argument("checkout", type=Path, help="of the other commit")
    parser.add_argument("--texts", type=Path, help="a TSV file with a text in its first column (default: our messages)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    print("| server | clients | before | after | throughput | p50 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench-before-") as name:
        folder = Path(name)
        places = models.make(folder)
        for kind in ("fp32", "compressed"):
            compare(kind, places[kind], folder, given)


def compare(kind: str, bundle: Path, folder: Path, given: argparse.Namespace) -> None:
    """Print the rows of one bundle."""
    texts = read_texts(given.texts)
    rates: dict[tuple[int, str], list[float]] = defaultdict(list)
    medians: dict[tuple[int, str], list[float]] = defaultdict(list)
    checkout = given.checkout.resolve()
    with servers.slipway(bundle, folder, checkout=checkout) as before, servers.slipway(bundle, folder) as after:
        both = {"before": before, "after": after}
        for number in range(given.rounds + 1):
            for clients in CLOSED:
                for when in sorted(both, reverse=bool(number % 2)):
                    place, path, question = both[when].place, both[when].path, both[when].question
                    requests = [http_request(place, path, question(text)) for text in texts]
                    measured = asyncio.run(closed_loop(place, requests, clients, given.seconds))
                    if measured.failed:
                        raise RuntimeError(f"{measured.failed} requests failed {when}, with {clients} clients")
                    if number:  # the first round warms
                        rates[clients, when].append(measured.answered_per_s)
                        medians[clients, when].append(measured.quantile(0.5))
    for clients in CLOSED:
        old, new = (statistics.median(rates[clients, when]) for when in ("before", "after"))
        slow, slower = (statistics.median(medians[clients, when]) for when in ("before", "after"))
        print(
            f"| {kind} | {clients} | {old:.0f} /s | {new:.0f} /s | {new / old:.3f} | {slower / slow:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
