"""The manual levers of the served model on this machine: status, start, stop, promote, roll back, ask."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.credentials import credentials
from components.errors import BadInput, SlipwayError
from components.inference import GrpcClient, ModelClient
from components.registry import Registry, Version
from components.rollout import bundles, levers, state
from components.rollout.local import access, service
from components.rollout.local import state as local_state
from components.rollout.local.client import RestClient
from components.rollout.local.service import Service
from components.rollout.local.state import Server
from components.rollout.local.target import DRIVER_STATE, LocalTarget
from components.rollout.target import Revision


def client(folder: Path, grpc: bool = False) -> ModelClient | GrpcClient:
    """A client of the public endpoint, with the key of the environment, else with that of the service itself.

    Raises:
        BadInput: nothing is served from the folder yet.
        SlipwayError: the proxy does not run.
    """
    whole = Service(folder)
    here = whole.state
    if not whole.envoy_alive():
        raise SlipwayError(f"the service in {folder} does not run; `slipway start` serves again")
    headers = credentials() or access.headers(whole.folder, here.auth)
    if grpc:
        return GrpcClient(f"{here.host}:{here.grpc_port}", here.model_name, headers=headers)
    return ModelClient(f"http://{here.host}:{here.http_port}", here.model_name, headers=headers)


def is_running(folder: Path) -> bool:
    """Whether the public endpoint is up."""
    return local_state.load(folder) is not None and Service(folder).envoy_alive()


def status(folder: Path) -> dict[str, Any]:
    """What is served, with which share, version and health.

    Returns:
        served (a model was ever served), healthy (all that should run runs and answers), message (a sentence),
        model_name, endpoint {rest, grpc}, proxy {pid, running, ready}, champion and challenger (null or {version,
        digest, percent, pid, running, ready}), rollout (null or {version, phase, requests, texts, seconds, verdict}),
        held_by (who drives a rollout now, or null).
    """
    here = local_state.load(folder)
    if here is None:
        return {
            "served": False,
            "healthy": False,
            "message": "nothing is served yet; `slipway run` serves a first model",
        }
    whole = Service(folder)
    with RestClient(here.model_name) as asking:
        champion = _server(here.champion, 100 - here.percent, asking)
        challenger = _server(here.challenger, here.percent, asking)
    running = whole.envoy_alive()
    proxy = {
        "pid": here.envoy.pid if here.envoy else None,
        "running": running,
        "ready": whole.envoy.ready() and running,
    }
    problems = _problems(champion, challenger, proxy)
    return {
        "served": here.champion is not None,
        "healthy": not problems,
        "message": "; ".join(problems) or f"version {champion['version'] if champion else '?'} serves",
        "model_name": here.model_name,
        "endpoint": {"rest": f"http://{here.host}:{here.http_port}", "grpc": f"{here.host}:{here.grpc_port}"},
        "proxy": proxy,
        "champion": champion,
        "challenger": challenger,
        "rollout": _rollout(folder),
        "held_by": service.holder(folder),
    }


def start(folder: Path) -> None:
    """Bring proxy and champion back after `stop` or a restart of the machine.

    A challenger is not started again: `slipway rollout` goes on with its rollout.

    Raises:
        BadInput: nothing was ever served, or somebody else has a port.
        SlipwayError: the champion does not start.
    """
    with service.locked(folder):
        whole = Service(folder)
        if whole.state.champion is None:
            raise BadInput("no version serves yet; `slipway run` serves a first model")
        with RestClient(whole.state.model_name, access.headers(whole.folder, whole.state.auth)) as asking:
            whole.retire()
            whole.ensure_running(asking, levers.READY_TIMEOUT_S)


def stop(folder: Path) -> bool:
    """End all processes of the service; returns whether there were any.

    Raises:
        SlipwayError: a rollout is going on.
    """
    if local_state.load(folder) is None:
        return False
    with service.locked(folder):
        return Service(folder).stop()


def promote(folder: Path, tracking_uri: str) -> str:
    """Make the challenger the champion now, whatever the evidence says; returns what was done.

    The challenger is the one that is deployed (a rollout that is held, say), else the registry's.

    Raises:
        BadInput: there is no challenger.
        RevisionFailed: it does not answer; the champion serves as before.
    """
    with _levers(folder, tracking_uri) as (target, registry):
        return levers.promote(target, registry, lambda version: _fetched(version, folder))


def rollback(folder: Path, tracking_uri: str) -> str:
    """Take the challenger out of traffic; without one, serve the version before the champion again.

    Raises:
        BadInput: there is neither a challenger nor a version before.
        RevisionFailed: the version before does not answer; the champion serves as before.
    """
    with _levers(folder, tracking_uri) as (target, registry):
        return levers.rollback(target, registry, lambda version: _fetched(version, folder))


def repair(folder: Path, tracking_uri: str) -> str:
    """Make the registry's aliases say what is served; returns what was done; see `components.rollout.levers`."""
    with _levers(folder, tracking_uri) as (target, registry):
        return levers.repair(target, registry)


@contextlib.contextmanager
def _levers(folder: Path, tracking_uri: str) -> Iterator[tuple[LocalTarget, Registry]]:
    """The target and the registry, held for this process."""
    here = Service(folder).state
    registry = Registry(tracking_uri, here.model_name)
    place = (folder, here.model_name, Path(here.public_key), here.http_port, here.grpc_port, here.auth)
    target = LocalTarget(*place, needs_champion=False)
    with contextlib.closing(target), target.lock():
        yield target, registry


def _fetched(version: Version, folder: Path) -> Revision:
    return Revision(version.version, str(bundles.fetch(version.bundle_uri, version.digest, folder)), version.digest)


def _server(server: Server | None, percent: int, asking: RestClient) -> dict[str, Any] | None:
    if server is None:
        return None
    running = server.alive()
    return {
        "version": server.revision.version,
        "digest": server.revision.digest,
        "percent": percent,
        "pid": server.daemon.pid if server.daemon else None,
        "running": running,
        "ready": running and asking.ready(server.http_port),
    }


def _problems(champion: dict[str, Any] | None, challenger: dict[str, Any] | None, proxy: dict[str, Any]) -> list[str]:
    parts = {"proxy": proxy, "champion": champion, "challenger": challenger}
    if not any(part and part["running"] for part in parts.values()):
        return ["stopped; `slipway start` serves again"]
    problems = []
    for name, part in parts.items():
        if part is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not part["running"]:
            remedy = "`slipway rollout` goes on" if name == "challenger" else "`slipway start` starts it again"
            problems.append(f"the {name} does not run ({remedy})")
        elif not part["ready"]:
            problems.append(f"the {name} does not answer")
    return problems


def _rollout(folder: Path) -> dict[str, Any] | None:
    """Where the rollout stands that goes on or is held."""
    try:
        return state.summary(json.loads((folder / DRIVER_STATE).read_text("utf-8")))
    except (OSError, ValueError, BadInput):
        return None
