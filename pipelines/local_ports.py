"""Check that the public endpoint on this machine can have its ports."""

from pathlib import Path

from slipway.components.errors import BadInput
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.local.processes import holder_of, port_problem
from slipway.components.rollout.settings import RolloutSettings

HOST = "127.0.0.1"


def check_ports(settings: RolloutSettings, service: Path) -> None:
    """Check that no other process listens on the ports of the public endpoint.

    Args:
        settings: with the ports.
        service: folder of the service, which holds the ports itself while it runs.

    Raises:
        BadInput: a process does. The message names it, if this user may see it, and a free port.
    """
    if LocalModel(service).running():
        return
    for name, port in (("http_port", settings.http_port), ("grpc_port", settings.grpc_port)):
        if problem := port_problem(HOST, port):
            free = next((str(other) for other in range(port + 1, 65536) if not port_problem(HOST, other)), "another")
            holder = holder_of(port)
            reason = f"held by {holder}" if holder else problem
            raise BadInput(
                f"port {port} cannot be used ({reason}); end what listens on it, or set rollout.{name} to a free port, "
                f"such as {free}"
            )
