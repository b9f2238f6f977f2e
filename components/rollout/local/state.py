"""The state of a local service that is kept between commands, in `state.json` in the service's folder."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.machine import whole_file
from slipway.components.rollout.local.envoy_config import Assignment, Upstream
from slipway.components.rollout.local.processes import Daemon
from slipway.components.rollout.target import Counts, Revision

STATE = "state.json"
FORMAT = 1
"""Version of the file; see `slipway.components.formats`."""
RELEASE = 1
"""Version of running model servers. It is raised when servers that an earlier Slipway started must be replaced.

1: the key file names the scope `rollout`. A server that does not know this scope rejects every later key file.
"""


@dataclass
class Server:
    """A revision's model server."""

    revision: Revision
    http_port: int
    grpc_port: int
    daemon: Daemon | None = None
    """The server's process; None until its start is complete."""
    release: int = 0
    """`RELEASE` of the Slipway that started it; 0 for one from before there was this number."""

    @property
    def upstream(self) -> Upstream:
        """The server as Envoy knows it."""
        return Upstream(self.revision.version, self.http_port, self.grpc_port)

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.daemon is not None and self.daemon.alive()

    def outdated(self) -> bool:
        """Whether its process runs and was started by an earlier Slipway that needs a replacement."""
        return self.release < RELEASE and self.alive()


@dataclass
class State:
    """A service: its public endpoint and the revisions behind it."""

    model_name: str
    public_key: str
    http_port: int
    grpc_port: int
    host: str = "127.0.0.1"
    auth: bool = True
    """Whether the model servers require API keys."""
    threads: int = 1
    """Inference threads of each model server."""
    champion: Server | None = None
    challenger: Server | None = None
    percent: int = 0
    """The challenger's share of predictions."""
    sticky_header: str = ""
    """Header whose hash selects the revision; empty: each prediction is routed at random."""
    copied_percent: int = 0
    """The share of predictions that is copied to the tap."""
    tap: str = ""
    """Path of the socket that copies go to; empty while nothing is copied."""
    draining: list[Server] = field(default_factory=list)
    """Servers that get no more traffic and are to be stopped."""
    envoy: Daemon | None = None
    """The proxy's process; None while the service is stopped."""
    counted_before: dict[str, Counts] = field(default_factory=dict)
    """Envoy's counts by version when the challenger was deployed."""
    counting_envoy: Daemon | None = None
    """The process that had these counts; a new one counts from 0."""

    @property
    def assigned(self) -> Assignment:
        """How predictions are split and copied."""
        return Assignment(self.percent, self.sticky_header, self.copied_percent if self.tap else 0)

    format: int = FORMAT

    @property
    def upstreams(self) -> list[Upstream]:
        """The servers that Envoy must know, one for each version."""
        servers = [*self.draining, self.challenger, self.champion]
        # While a server is replaced there are two of its version; the one that serves comes last here, and is kept.
        by_version = {server.revision.version: server.upstream for server in servers if server}
        return list(reversed(by_version.values()))


_ADAPTER = TypeAdapter(State)


def load(service: Path) -> State | None:
    """Read the state of a service; None when nothing was ever served from the folder.

    Raises:
        BadInput: the file is damaged, or a later Slipway wrote it.
    """
    path = service / STATE
    try:
        content = path.read_bytes()
        formats.check(path, content, FORMAT)
        return _ADAPTER.validate_json(content)
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"{path} is not the state of a service ({first}); move the folder away to start anew") from error


def save(service: Path, state: State) -> None:
    """Write the state. The file is whole, old or new, even when the process is killed or the power is lost."""
    service.mkdir(parents=True, exist_ok=True)
    whole_file.replace(service / STATE, _ADAPTER.dump_json(state, indent=1))
