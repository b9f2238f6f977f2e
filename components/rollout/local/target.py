"""The rollout target on one machine: two model servers behind an Envoy that splits the traffic between them."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway.components.errors import BadInput, RevisionFailed, SlipwayError
from slipway.components.machine import whole_file
from slipway.components.rollout.counter_resets import COUNTED, ending_of, since
from slipway.components.rollout.local import access, comparing, servers, service
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.service import Service
from slipway.components.rollout.local.state import Server, State
from slipway.components.rollout.local.traffic_mirror import Tap
from slipway.components.rollout.target import Counts, Pair, Revision

DRIVER_STATE = "rollout.json"
CHAMPION_TIMEOUT_S = 60.0


class LocalTarget:
    """Implements `slipway.components.rollout.target.RolloutTarget` for the service in a folder.

    Args:
        folder: folder of the service, with its state, the configuration of the proxy, and logs.
        model_name: name of the model in the paths of requests.
        public_key: PEM of the signer whose bundles are served.
        http_port: the public endpoint's port for REST.
        grpc_port: the public endpoint's port for gRPC.
        auth: whether its model servers require API keys.
        needs_champion: whether `deploy` fails when the champion does not answer; a comparison needs it.

    Raises:
        BadInput: the folder's service has another model name, serves at other ports, or was started with another
            `auth`.
    """

    def __init__(
        self,
        folder: Path,
        model_name: str,
        public_key: Path,
        http_port: int,
        grpc_port: int,
        auth: bool = True,
        needs_champion: bool = True,
    ) -> None:
        self._folder, self._configured = folder, (model_name, str(public_key.absolute()), http_port, grpc_port)
        self._auth, self._needs_champion = auth, needs_champion
        self._tap: Tap | None = None
        self._open()
        self._client = RestClient(model_name, access.rollout_headers(self._service.folder, auth))

    def champion(self) -> Revision | None:
        """The revision that serves."""
        server = self._state.champion
        return server.revision if server else None

    def challenger(self) -> Revision | None:
        """The revision of a rollout that is in progress or held."""
        server = self._state.challenger
        return server.revision if server else None

    def deploy(self, revision: Revision) -> None:
        """Start `revision` as the challenger with 0 % of traffic; see the protocol."""
        self._service.retire()
        if self.champion() == revision:
            raise SlipwayError(f"version {revision.version} is the champion already")
        self._service.ensure_running(self._client, CHAMPION_TIMEOUT_S, self._needs_champion)
        challenger = self._state.challenger
        if challenger and challenger.revision != revision:
            raise SlipwayError(
                f"version {challenger.revision.version} is the challenger; promote it or roll it back before "
                f"version {revision.version}"
            )
        if challenger and challenger.alive():
            return
        servers.check_digest(revision)
        if not challenger:
            challenger = self._state.challenger = servers.new_server(revision)
            self._state.counted_before = self._service.envoy.counts(self._state.upstreams)
            self._state.counting_envoy = self._state.envoy
        self._state.percent, self._state.tap = 0, ""
        self._service.start_server(challenger)
        self._service.apply()

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        """Return when the challenger answers predictions; see the protocol."""
        challenger = self._state.challenger
        if not challenger or challenger.revision != revision:
            raise RevisionFailed(f"version {revision.version} is not deployed")
        servers.wait_ready(self._service.folder, challenger, self._client, timeout_s)

    def set_traffic(self, percent: int) -> None:
        """Route `percent` of predictions to the challenger."""
        self._check_challenger()
        self._state.percent = percent if self._state.challenger else 0
        self._service.apply()
        self._service.save()

    def observe(self) -> dict[str, Counts]:
        """Counts of both revisions since `deploy`, over REST and gRPC."""
        self._check_challenger()
        # Envoy counts since its own start, so the counts from before `deploy` are subtracted, unless it started again.
        totals, envoy = self._service.envoy.counts(self._state.upstreams), self._state.envoy
        before = self._state.counted_before if self._state.counting_envoy == envoy else {}
        source = f"{envoy.pid}-{envoy.started}" if envoy else ""
        return {
            version: replace(since(counts, before.get(version, Counts())), source=source)
            for version, counts in totals.items()
        }

    def send(self, texts: Sequence[str]) -> int:
        """Send each text through the public endpoint; return how many a revision admitted."""
        answers = self._client.ask_all((self._state.http_port, text) for text in texts)
        # Without a version header the proxy routed the request to no revision.
        return sum(answer.version is not None and ending_of(answer.status) in COUNTED for answer in answers)

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        """Send each text to both revisions directly."""
        self._check_challenger()
        pairs = comparing.at_once(self._client, self._sides, texts)
        self._check_challenger()
        return pairs

    def shadow(self, percent: int) -> None:
        """Copy `percent` of the predictions, over REST and gRPC."""
        self._check_challenger()
        self._shadow(percent if self._state.challenger else 0)

    def shadow_pairs(self, texts: Sequence[str]) -> list[Pair]:  # noqa: ARG002 (the proxy copies live requests)
        """Both revisions' answers to the copied requests."""
        if not self._tap:
            return []
        self._check_challenger()
        pairs = comparing.in_turn(self._client, self._sides, self._tap.take())
        self._check_challenger()
        return pairs

    def stick(self, header: str) -> bool:
        """Route clients by the hash of a header, from the next change of traffic on."""
        self._state.sticky_header = header
        self._service.save()
        return True

    def promote(self) -> None:
        """Give the challenger all traffic, make it the champion, and stop the old champion after its last request.

        The state is saved before the routes change. A driver that is killed in between finds the new champion, and
        `Service.retire` writes the routes again before it stops a server.
        """
        self._check_challenger()
        state = self._state
        if state.challenger:
            state.percent = 100
            self._shadow(0)
            state.draining = [*state.draining, *filter(None, [state.champion])]
            state.champion, state.challenger, state.percent = state.challenger, None, 0
            self._service.save()
            self._service.apply()
        self._service.retire()

    def rollback(self) -> None:
        """Give the champion all traffic and stop the challenger."""
        state = self._state
        if state.challenger:
            state.percent = 0
            self._shadow(0)
            state.draining, state.challenger = [*state.draining, state.challenger], None
            self._service.save()
            self._service.apply()
        self._service.retire()

    def load_state(self) -> dict[str, Any] | None:
        """The driver's state."""
        try:
            saved: dict[str, Any] = json.loads(self._driver_state.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BadInput(f"{self._driver_state} is damaged ({error}); remove it to begin the rollout anew") from error
        return saved

    def save_state(self, state: dict[str, Any] | None) -> None:
        """Save the driver's state."""
        if state is None:
            self._driver_state.unlink(missing_ok=True)
        else:
            whole_file.replace(self._driver_state, json.dumps(state))

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the service for one driver."""
        with service.locked(self._service.folder):
            self._open()  # reads the state again, since the last holder of the lock may have changed it
            yield

    def close(self) -> None:
        """Close threads and connections; the service keeps running."""
        if self._tap:  # only after an error: the proxy's copies are lost from now on, until the next driver stops them
            self._tap.close()
            self._tap = None
        self._client.close()

    def endpoint(self) -> dict[str, str]:
        """The public addresses for REST and gRPC."""
        state = self._state
        return {"rest": f"http://{state.host}:{state.http_port}", "grpc": f"{state.host}:{state.grpc_port}"}

    @property
    def _state(self) -> State:
        return self._service.state

    @property
    def _sides(self) -> tuple[Server | None, Server | None]:
        return self._state.champion, self._state.challenger

    @property
    def _driver_state(self) -> Path:
        return self._service.folder / DRIVER_STATE

    def _open(self) -> None:
        """Read the service's state, and apply new settings when nothing runs with the old ones."""
        self._service = Service(self._folder, State(*self._configured, auth=self._auth))
        model_name, public_key, http_port, grpc_port = self._configured
        state = self._state
        if state.model_name != model_name and state.champion:
            raise BadInput(
                f"{self._service.folder} serves the model {state.model_name!r}, not {model_name!r}; use another "
                "SLIPWAY_HOME for another model"
            )
        ports = (http_port, grpc_port)
        if (state.http_port, state.grpc_port) != ports and self._service.envoy_alive():
            raise BadInput(
                f"the service listens on ports {state.http_port} and {state.grpc_port}, rollout.http_port and "
                f"rollout.grpc_port are {http_port} and {grpc_port}; `slipway stop` first, or set them back"
            )
        if state.auth != self._auth and self._service.envoy_alive():
            on_off = {True: "on", False: "off"}
            raise BadInput(
                f"the service was started with rollout.auth {on_off[state.auth]}, now it is {on_off[self._auth]}; "
                "`slipway stop` first, or set it back"
            )
        state.model_name, state.public_key, state.auth = model_name, public_key, self._auth
        state.http_port, state.grpc_port = ports

    def _shadow(self, percent: int) -> None:
        """Start or stop copying requests to the tap, and update the routes.

        The tap opens before the routes lead to it, and closes after they no longer do.
        """
        if percent and not self._tap:
            folder = self._service.folder
            self._tap = Tap(lambda headers: access.may_predict(folder, headers)) if self._auth else Tap()
        self._state.tap = str(self._tap.path) if self._tap and percent else ""
        self._state.copied_percent = percent
        self._service.apply()
        self._service.save()
        if self._tap and not percent:
            self._tap.close()
            self._tap = None

    def _check_challenger(self) -> None:
        """Raise RevisionFailed when the challenger's process ended."""
        challenger = self._state.challenger
        if challenger and not challenger.alive():
            raise RevisionFailed(servers.reason(self._service.folder, challenger))
