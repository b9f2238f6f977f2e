"""`python -m benchmarks.serving`: measure the servers one after the other, print the tables, write them as JSON."""

import argparse
import asyncio
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.serving import models, servers
from benchmarks.serving.load import Measured, closed_loop, http_request, open_loop
from benchmarks.serving.tables import markdown
from slipway.components.prepare_data import samples

P99_LIMIT_MS = 100.0
FACTOR = 1.25
CLOSED = (1, 8, 64)
Start = Callable[[], AbstractContextManager[servers.Running]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=__doc__)
    parser.add_argument("--texts", type=Path, help="a TSV file with a text in its first column (default: our messages)")
    parser.add_argument("--mlserver", type=Path, help="the Python of an environment with mlserver and its HF runtime")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/serving/results.json"))
    given = parser.parse_args()
    texts = read_texts(given.texts)
    results: dict[str, Any] = {
        "machine": machine(),
        "command": " ".join(sys.argv[1:]),
        "texts": len(texts),
        "servers": {},
    }
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as name:
        folder = Path(name)
        places = models.make(folder)
        (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
        results["bare"] = {kind: bare(places[kind], folder / "texts.json") for kind in ("fp32", "compressed")}
        for title, start in contestants(places, folder, given.mlserver):
            print(f"{title} …", file=sys.stderr, flush=True)
            results["servers"][title] = measure(start, texts, given.seconds)
            given.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(markdown(results))


def read_texts(path: Path | None) -> list[str]:
    """Texts with natural lengths."""
    if path is None:
        with (Path(samples.__file__).parent / "customer_messages.csv").open(encoding="utf-8") as file:
            return [row["text"] for row in csv.DictReader(file)]
    lines = path.read_text("utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if line.strip()]


def contestants(places: dict[str, Path], folder: Path, mlserver: Path | None) -> Iterator[tuple[str, Start]]:
    """Title and starter of each server."""
    yield "Slipway, FP32", lambda: servers.slipway(places["fp32"], folder)
    yield "Slipway, compressed", lambda: servers.slipway(places["compressed"], folder)
    yield "kserve Model with transformers, FP32", lambda: servers.plain_kserve(places["checkpoint"], folder)
    if mlserver:
        yield "MLServer, FP32", lambda: servers.mlserver(mlserver, places["checkpoint"], folder, 1)
        yield "MLServer with batching, FP32", lambda: servers.mlserver(mlserver, places["checkpoint"], folder, 32)


def bare(bundle: Path, texts: Path) -> dict[str, Any]:
    """ONNX Runtime alone, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serving.bare", str(bundle), str(texts)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def measure(start: Start, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    """Closed loops, then the highest open-loop rate whose p99 stays under the limit."""
    with start() as running:
        requests = [http_request(running.place, running.path, running.question(text)) for text in texts]
        asyncio.run(closed_loop(running.place, requests, 4, 2.0))  # warm
        closed = {n: _row(asyncio.run(closed_loop(running.place, requests, n, seconds))) for n in CLOSED}
        peak = max(row["answered_per_s"] for row in closed.values())
        rates = highest_rate(lambda rate: asyncio.run(open_loop(running.place, requests, rate, seconds)), peak / 4)
        sustained = [row for row in rates if row["p99_ms"] < P99_LIMIT_MS]
        return {
            "start_s": running.start_s,
            "memory_mib": running.memory_mib(),
            "closed": closed,
            "open": rates,
            "sustained_per_s": max((row["asked_per_s"] for row in sustained), default=0.0),
        }


def highest_rate(ask: Callable[[float], Measured], first: float) -> list[dict[str, float]]:
    """Loads at rising rates until two in a row are too slow; each is `FACTOR` above the one before."""
    rows: list[dict[str, float]] = []
    rate = first
    while sum(row["p99_ms"] >= P99_LIMIT_MS for row in rows[-2:]) < 2:  # noqa: PLR2004
        rows.append(_row(ask(rate)))
        rate *= FACTOR
    return rows


def _row(measured: Measured) -> dict[str, float]:
    return {
        "asked_per_s": measured.asked_per_s,
        "answered_per_s": measured.answered_per_s,
        "p50_ms": measured.quantile(0.5),
        "p99_ms": measured.quantile(0.99),
        "failed": measured.failed,
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


if __name__ == "__main__":
    main()
