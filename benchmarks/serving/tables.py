"""The tables of the serving benchmark, in Markdown, with the ratios that the README claims."""

from typing import Any


def markdown(results: dict[str, Any]) -> str:
    """All of them."""
    machine = results["machine"]
    head = f"{machine['processor']}, {machine['cores']} cores, which the load shares; {results['texts']} texts."
    return "\n\n".join([head, _rates(results), _closed(results), _bare(results), _ratios(results)])


def _rates(results: dict[str, Any]) -> str:
    rows = ["| server | highest rate with p99 < 100 ms | memory | start |", "|---|---|---|---|"]
    for title, row in results["servers"].items():
        rows.append(
            f"| {title} | {row['sustained_per_s']:.0f} /s | {row['memory_mib']:.0f} MiB | {row['start_s']:.1f} s |"
        )
    return "\n".join(rows)


def _closed(results: dict[str, Any]) -> str:
    rows = ["| server | clients | answers | p50 | p99 | failed |", "|---|---|---|---|---|---|"]
    for title, row in results["servers"].items():
        for clients, found in row["closed"].items():
            rows.append(
                f"| {title} | {clients} | {found['answered_per_s']:.0f} /s | {found['p50_ms']:.1f} ms | "
                f"{found['p99_ms']:.1f} ms | {found['failed']} |"
            )
    return "\n".join(rows)


def _bare(results: dict[str, Any]) -> str:
    rows = ["| ONNX Runtime without a server | one text, p50 | ideal batches | which are |", "|---|---|---|---|"]
    for kind, found in results["bare"].items():
        rows.append(f"| {kind} | {found['p50_ms']:.2f} ms | {found['texts_per_s']:.0f} texts/s | {found['batches']} |")
    return "\n".join(rows)


def _ratios(results: dict[str, Any]) -> str:
    found, bare = results["servers"], results["bare"]["fp32"]
    fp32, compressed = found["Slipway, FP32"], found["Slipway, compressed"]
    peers = {title: row for title, row in found.items() if not title.startswith("Slipway")}
    rows = ["| claim | measured | goal |", "|---|---|---|"]
    if peers:
        best = max(peers, key=lambda title: peers[title]["sustained_per_s"])
        rate = max(peers[best]["sustained_per_s"], 1e-9)
        rows.append(f"| FP32, highest rate against {best} | {fp32['sustained_per_s'] / rate:.1f}x | 3x |")
        rows.append(f"| compressed, highest rate against {best} | {compressed['sustained_per_s'] / rate:.1f}x | 10x |")
    one, most = (
        fp32["closed"][min(fp32["closed"], key=int)],
        max(row["answered_per_s"] for row in fp32["closed"].values()),
    )
    rows.append(f"| FP32, p50 of one client against the bare call | {one['p50_ms'] / bare['p50_ms']:.2f}x | 1.2x |")
    rows.append(f"| FP32, throughput against bare ideal batches | {100 * most / bare['texts_per_s']:.0f} % | 85 % |")
    return "\n".join(rows)
