"""`slipway status`: what is served, for people."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from slipway.components.rollout.served_model import ProxyStatus, RevisionStatus, Status


def show(found: "Status", console: Console) -> None:
    """Print a service's status for people."""
    style = f"bold {'green' if found.healthy else 'red'}"
    console.print(found.message, markup=False, highlight=False, style=style)
    if not found.served:
        return
    console.print(f"{found.model_name} at {_place_of(found.endpoint)}", highlight=False)
    table = Table("", "version", "traffic", "state", "process", "bundle", box=None, pad_edge=False)
    for role, part in (("champion", found.champion), ("challenger", found.challenger)):
        if part:
            shown = (part.version, f"{part.percent} %", _health_of(part), str(part.pid or ""), part.digest[:19])
            table.add_row(role, *shown)
    if found.proxy:
        table.add_row("proxy", "", "", _health_of(found.proxy), str(found.proxy.pid or ""), "")
    console.print(table)
    if going := found.rollout:
        console.print(
            f"rollout of version {going['version']}: {going['phase']} ({going['percent']} %), {going['requests']} "
            f"requests and {going['texts']} labelled texts so far, verdict: {going['verdict'] or 'none yet'}",
            highlight=False,
        )
        if going["evidence"]:
            from slipway.components.rollout.live import evidence_table

            console.print(evidence_table(going["evidence"]))


def _place_of(endpoint: dict[str, str]) -> str:
    """The public endpoint for people."""
    other = {"grpc": "gRPC", "host": "Host"}
    more = ", ".join(f"{name} {endpoint[key]}" for key, name in other.items() if endpoint.get(key))
    return f"{endpoint['rest']} ({more})" if more else endpoint["rest"]


def _health_of(part: "RevisionStatus | ProxyStatus") -> str:
    """`ready`, `running` (without answering) or `down`."""
    return "ready" if part.ready else "running" if part.running else "down"
