"""The processes of a local service as a whole: bring them up, take a revision out, end them all."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway.components.errors import BadInput, RevisionFailed, SlipwayError
from slipway.components.machine import file_lock
from slipway.components.machine.private_files import private_folder, tighten
from slipway.components.rollout.local import access, servers, state
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.envoy import Envoy
from slipway.components.rollout.local.state import Server, State
from slipway.components.step_runtime import progress

LOCK = "lock"


class Service:
    """A service folder and its processes; `state` is what the folder says, kept up to date there.

    Raises:
        BadInput: nothing was ever served from the folder and `fresh` does not say how to begin.
    """

    def __init__(self, folder: Path, fresh: State | None = None) -> None:
        self.folder = folder.absolute()
        found = state.load(self.folder) or fresh
        if found is None:
            raise BadInput(f"nothing is served from {folder} yet; `slipway run` trains and serves a first model")
        self.state: State = found
        self.envoy = Envoy(self.folder / "envoy", self.folder / "logs" / "envoy.log")

    def save(self) -> None:
        """Write the state down."""
        state.save(self.folder, self.state)

    def envoy_alive(self) -> bool:
        """Whether the proxy runs."""
        return self.state.envoy is not None and self.state.envoy.alive()

    def ensure_running(self, client: RestClient, ready_timeout_s: float, needs_champion: bool = True) -> None:
        """Bring champion and proxy up where they are not, on the same public ports.

        A challenger whose process is gone loses its traffic; who wants it back deploys it again. The same goes for one
        that an earlier release started; a champion of that is replaced without a lost request.

        Raises:
            BadInput: somebody else listens on a public port.
            SlipwayError: the champion is needed and does not start.
        """
        self._replace_outdated(client, ready_timeout_s)
        champion, challenger = self.state.champion, self.state.challenger
        if champion and not champion.alive():
            self.state.champion = self.start_server(champion)
        if self.state.champion:
            try:
                servers.wait_ready(self.folder, self.state.champion, client, ready_timeout_s)
            except RevisionFailed as error:
                if needs_champion:
                    raise SlipwayError(
                        f"the champion does not start ({error}); `slipway promote` or `slipway rollback` puts another "
                        "version in its place"
                    ) from error
        if challenger and not challenger.alive():
            self.state.percent = 0
        self.apply()
        if self.envoy_alive() and self.envoy.is_open():
            words = "the proxy's administration is open to everybody on this machine, as an earlier release started it"
            progress.report("rollout", f"{words}; `slipway stop` and `slipway start` close it")
        if not self.envoy_alive():
            here = self.state
            here.envoy = self.envoy.start(here.host, here.http_port, here.grpc_port)
        self.save()

    def _replace_outdated(self, client: RestClient, ready_timeout_s: float) -> None:
        """Stop servers that an earlier release started. A new one of the champion has its place before, if it works."""
        here = self.state
        champion, challenger = here.champion, here.challenger
        if challenger and challenger.outdated():
            here.percent, here.challenger = 0, servers.new_server(challenger.revision)
            here.draining = [*here.draining, challenger]
            self.save()
        if champion and champion.outdated():
            new = servers.new_server(champion.revision)
            before, here.draining = here.draining, [*here.draining, new]  # after a kill it is stopped, not forgotten
            servers.start(self.folder, here, new, audit=f"{champion.revision.version}-{new.http_port}")
            self.save()
            try:
                servers.wait_ready(self.folder, new, client, ready_timeout_s)
            except RevisionFailed as error:
                progress.report("rollout", f"version {champion.revision.version} stays as it was started ({error})")
            else:
                here.champion, here.draining = new, [*before, champion]
                self.save()
        self.retire()

    def start_server(self, server: Server) -> Server:
        """Start a server; ports are chosen anew unless a killed command has started it on these."""
        if server.daemon is not None:
            server = servers.new_server(server.revision)
        for role in ("champion", "challenger"):
            known = getattr(self.state, role)
            if known and known.revision == server.revision:
                setattr(self.state, role, server)
        self.save()
        servers.start(self.folder, self.state, server)
        self.save()
        return server

    def apply(self) -> None:
        """Let clusters and routes be those of the state; also while the proxy is down, for its next start."""
        here, running = self.state, self.envoy_alive()
        self.envoy.put_clusters(here.upstreams, here.tap, running)
        champion = here.champion.upstream if here.champion else None
        challenger = here.challenger.upstream if here.challenger else None
        self.envoy.put_routes(champion, challenger, here.assigned, running)

    def retire(self) -> None:
        """Stop the servers that are out of traffic, each after its last request."""
        here = self.state
        if here.draining:
            self.apply()  # a command that was killed may not have come to it
        while here.draining:
            server = here.draining[0]
            if self.envoy_alive():
                self.envoy.drained(server.upstream)
            here.draining = here.draining[1:]
            self.envoy.put_clusters(here.upstreams, here.tap, self.envoy_alive())
            servers.stop(server)
            self.save()

    def stop(self) -> bool:
        """End all processes; returns whether there were any."""
        here = self.state
        running = [server for server in (here.champion, here.challenger, *here.draining) if server and server.alive()]
        found = bool(running) or self.envoy_alive()
        if here.envoy:
            here.envoy.stop(5.0)
        with ThreadPoolExecutor() as pool:  # each takes a moment to drain
            list(pool.map(servers.stop, running))
        here.draining, here.percent, here.envoy = [], 0, None
        self.save()
        return found


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the service for this process; the system lets go of the lock when the process dies.

    Raises:
        SlipwayError: another process holds it; the message says which.
    """
    private_folder(folder)
    for secret in (access.OWN_KEY, access.KEY_FILE, access.AUDIT_KEY):
        tighten(folder / secret)  # an earlier release or a copy may have left it open
    note = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
    try:
        lock = file_lock.take(folder / LOCK, note=note)
    except file_lock.Held as held:
        raise SlipwayError(
            f"the service in {folder} is held by {_readable(str(held))}; end it, or wait for its end"
        ) from None
    with lock:
        yield


def holder(folder: Path) -> str | None:
    """Which process holds the service, in words; None when none does."""
    note = file_lock.holder(folder / LOCK)
    return None if note is None else _readable(note)


def _readable(note: str) -> str:
    try:
        holder = json.loads(note)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (ValueError, KeyError, TypeError):  # the moment between taking the lock and writing the note
        return "another process"
