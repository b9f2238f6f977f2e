"""The table of the command `slipway status`: which versions are served."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from slipway.components.rollout.served_model import ProxyStatus, RevisionStatus, Status


def show(status: "Status", console: Console) -> None:
    """Print the status of a service as a table, and the evidence of a rollout that is going on."""
    style = f"bold {'green' if status.healthy else 'red'}"
    console.print(status.message, markup=False, highlight=False, style=style)
    if not status.served:
        return
    console.print(f"{status.model_name} at {_address_of(status.endpoint)}", highlight=False)
    table = Table("", "version", "traffic", "state", "process", "bundle", box=None, pad_edge=False)
    for role, server in (("champion", status.champion), ("challenger", status.challenger)):
        if server:
            cells = (
                server.version,
                f"{server.percent} %",
                _health_of(server),
                str(server.pid or ""),
                server.digest[:19],
            )
            table.add_row(role, *cells)
    if status.proxy:
        table.add_row("proxy", "", "", _health_of(status.proxy), str(status.proxy.pid or ""), "")
    console.print(table)
    if rollout := status.rollout:
        console.print(
            f"rollout of version {rollout.version}: {rollout.phase} ({rollout.percent} %), "
            f"{rollout.requests} requests and {rollout.texts} labelled texts so far, "
            f"verdict: {rollout.verdict or 'none yet'}",
            highlight=False,
        )
        if rollout.evidence:
            from slipway.components.rollout.live import evidence_table

            console.print(evidence_table(rollout.evidence))


def _address_of(endpoint: dict[str, str]) -> str:
    """The public address, with the gRPC address and the Host header where there are such."""
    names = {"grpc": "gRPC", "host": "Host"}
    others = ", ".join(f"{name} {endpoint[key]}" for key, name in names.items() if endpoint.get(key))
    return f"{endpoint['rest']} ({others})" if others else endpoint["rest"]


def _health_of(server: "RevisionStatus | ProxyStatus") -> str:
    """`ready`, `running` (the process runs, but is not ready) or `down`."""
    return "ready" if server.ready else "running" if server.running else "down"
