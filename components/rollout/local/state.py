"""What a local service remembers between commands: `state.json` in its folder."""

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
"""Of the file; see `slipway.components.formats`."""
RELEASE = 1
"""Of running model servers; raised when those that an earlier Slipway started cannot go on serving with this one.

1: the key file names the scope `rollout`. A server that does not know it takes no change of the file any more.
"""


@dataclass
class Server:
    """A revision's model server."""

    revision: Revision
    http_port: int
    grpc_port: int
    daemon: Daemon | None = None
    """None until its start is complete."""
    release: int = 0
    """`RELEASE` of the Slipway that started it; 0 before there was one."""

    @property
    def upstream(self) -> Upstream:
        """What Envoy needs of it."""
        return Upstream(self.revision.version, self.http_port, self.grpc_port)

    def alive(self) -> bool:
        """Whether its process runs."""
        return self.daemon is not None and self.daemon.alive()

    def outdated(self) -> bool:
        """Whether its process runs, and an earlier Slipway started it."""
        return self.release < RELEASE and self.alive()


@dataclass
class State:
    """A service: its public endpoint and who serves behind it."""

    model_name: str
    public_key: str
    http_port: int
    grpc_port: int
    host: str = "127.0.0.1"
    auth: bool = True
    """Whether the model servers ask for keys."""
    threads: int = 1
    """Of each model server's inference."""
    champion: Server | None = None
    challenger: Server | None = None
    percent: int = 0
    """Of predictions that go to the challenger."""
    sticky_header: str = ""
    """Whose hash decides who answers a prediction; empty: chance does."""
    copied_percent: int = 0
    """Of predictions that are copied to the tap."""
    tap: str = ""
    """The socket that copies go to, while there are any."""
    draining: list[Server] = field(default_factory=list)
    """Out of traffic and to be stopped."""
    envoy: Daemon | None = None
    counted_before: dict[str, Counts] = field(default_factory=dict)
    """By version, what Envoy had counted when the challenger was deployed."""
    counting_envoy: Daemon | None = None
    """The Envoy that had counted this."""

    @property
    def assigned(self) -> Assignment:
        """How predictions are shared out."""
        return Assignment(self.percent, self.sticky_header, self.copied_percent if self.tap else 0)

    format: int = FORMAT

    @property
    def upstreams(self) -> list[Upstream]:
        """All revisions that Envoy must know."""
        servers = [*self.draining, self.challenger, self.champion]
        known = {server.revision.version: server.upstream for server in servers if server}  # one that is replaced goes
        return list(reversed(known.values()))


_FORM = TypeAdapter(State)


def load(service: Path) -> State | None:
    """The state of a service, or None when there never was one.

    Raises:
        BadInput: the file is not as expected, or too new.
    """
    path = service / STATE
    try:
        content = path.read_bytes()
        formats.check(path, content, FORMAT)
        return _FORM.validate_json(content)
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"{path} is not the state of a service ({first}); move the folder away to start anew") from error


def save(service: Path, state: State) -> None:
    """Keep the state: old or new, whenever the process is killed or the power is lost."""
    service.mkdir(parents=True, exist_ok=True)
    whole_file.replace(service / STATE, _FORM.dump_json(state, indent=1))
