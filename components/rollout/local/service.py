"""Starts, replaces and stops the processes of a local service, for the local target and the `slipway` command."""

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
    """The folder of a service and its processes; `state` is what `state.json` in the folder holds.

    Args:
        folder: of the service.
        fresh: the state to begin with when nothing was ever served from the folder.

    Raises:
        BadInput: nothing was ever served from the folder, and `fresh` is None.
    """

    def __init__(self, folder: Path, fresh: State | None = None) -> None:
        self.folder = folder.absolute()
        current = state.load(self.folder) or fresh
        if current is None:
            raise BadInput(f"nothing is served from {folder} yet; `slipway run` trains and serves a first model")
        self.state: State = current
        self.envoy = Envoy(self.folder / "envoy", self.folder / "logs" / "envoy.log")

    def save(self) -> None:
        """Write the state to the folder."""
        state.save(self.folder, self.state)

    def envoy_alive(self) -> bool:
        """Whether the proxy runs."""
        return self.state.envoy is not None and self.state.envoy.alive()

    def ensure_running(self, client: RestClient, ready_timeout_s: float, needs_champion: bool = True) -> None:
        """Start champion and proxy unless they run, on the same public ports.

        A challenger whose process is gone loses its traffic, until it is deployed again. So does a challenger that an
        earlier release started. A champion that an earlier release started is replaced without a lost request.

        Args:
            client: asks servers whether they are ready.
            ready_timeout_s: time limit for a server to become ready, in seconds.
            needs_champion: whether a champion that does not start is an error.

        Raises:
            BadInput: another process listens on a public port.
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
            warning = (
                "the proxy's administration is open to everybody on this machine, as an earlier release started it"
            )
            progress.report("rollout", f"{warning}; `slipway stop` and `slipway start` close it")
        if not self.envoy_alive():
            current = self.state
            current.envoy = self.envoy.start(current.host, current.http_port, current.grpc_port)
        self.save()

    def _replace_outdated(self, client: RestClient, ready_timeout_s: float) -> None:
        """Stop servers that an earlier release started.

        A new server of the champion becomes ready first, and then takes its place. If it does not become ready, the old
        one stays.
        """
        current = self.state
        champion, challenger = current.champion, current.challenger
        if challenger and challenger.outdated():
            current.percent, current.challenger = 0, servers.new_server(challenger.revision)
            current.draining = [*current.draining, challenger]
            self.save()
        if champion and champion.outdated():
            new = servers.new_server(champion.revision)
            # Listed as draining from its start: if this process is killed, the next command stops the new server.
            before, current.draining = current.draining, [*current.draining, new]
            servers.start(self.folder, current, new, audit=f"{champion.revision.version}-{new.http_port}")
            self.save()
            try:
                servers.wait_ready(self.folder, new, client, ready_timeout_s)
            except RevisionFailed as error:
                progress.report("rollout", f"version {champion.revision.version} stays as it was started ({error})")
            else:
                current.champion, current.draining = new, [*before, champion]
                self.save()
        self.retire()

    def start_server(self, server: Server) -> Server:
        """Start a server and return it, with new ports unless its start was not complete.

        A server without a process keeps its ports: a command that was killed may have started it on them.
        """
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
        """Write clusters and routes as the state has them; a proxy that does not run reads them at its next start."""
        current, running = self.state, self.envoy_alive()
        self.envoy.put_clusters(current.upstreams, current.tap, running)
        champion = current.champion.upstream if current.champion else None
        challenger = current.challenger.upstream if current.challenger else None
        self.envoy.put_routes(champion, challenger, current.assigned, running)

    def retire(self) -> None:
        """Stop the servers that get no more traffic, each after its last request."""
        current = self.state
        if current.draining:
            self.apply()  # a command that was killed may have saved the state without changing the routes
        while current.draining:
            server = current.draining[0]
            if self.envoy_alive():
                self.envoy.drained(server.upstream)
            current.draining = current.draining[1:]
            self.envoy.put_clusters(current.upstreams, current.tap, self.envoy_alive())
            servers.stop(server)
            self.save()

    def stop(self) -> bool:
        """Stop all processes; return whether there were any."""
        current = self.state
        running = [
            server for server in (current.champion, current.challenger, *current.draining) if server and server.alive()
        ]
        any_running = bool(running) or self.envoy_alive()
        if current.envoy:
            current.envoy.stop(5.0)
        with ThreadPoolExecutor() as pool:  # at the same time, since each takes a moment to drain
            list(pool.map(servers.stop, running))
        current.draining, current.percent, current.envoy = [], 0, None
        self.save()
        return any_running


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the service for this process; the system releases the lock when the process dies.

    Raises:
        SlipwayError: another process holds the lock; the message names it.
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
    """The process that holds the lock, as a phrase; None when none does."""
    note = file_lock.holder(folder / LOCK)
    return None if note is None else _readable(note)


def _readable(note: str) -> str:
    try:
        holder = json.loads(note)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (ValueError, KeyError, TypeError):  # the moment between taking the lock and writing the note
        return "another process"
