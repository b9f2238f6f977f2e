"""A revision's model server: a `python -m slipway.serving` process in the background."""

import sys
import time
from pathlib import Path

from slipway.components.artifacts.bundle import Bundle
from slipway.components.errors import BadInput, RevisionFailed
from slipway.components.rollout.local import access, decryption, processes
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.state import RELEASE, Server, State
from slipway.components.rollout.probe_request import foreign
from slipway.components.rollout.target import Revision

STOP_GRACE_S = 20.0
WARM_UP_TEXTS = ("hello", "a somewhat longer text, for the second of the first predictions", "good bye")


def new_server(revision: Revision) -> Server:
    """A server that has ports but no process yet."""
    http_port, grpc_port = processes.free_ports(2)
    return Server(revision, http_port, grpc_port, release=RELEASE)


def log_of(service: Path, server: Server) -> Path:
    """Where its output goes; a new file for every start, since each start has its own ports."""
    return service / "logs" / f"server-{server.revision.version}-{server.http_port}.log"


def start(service: Path, state: State, server: Server, audit: str = "") -> None:
    """Start its process, or find the one that a killed command started.

    Args:
        service: its folder.
        state: of the service.
        server: which is given the process.
        audit: the name of its audit log, which only one server at a time can write; empty for the version.
    """
    command = [sys.executable, "-m", "slipway.serving", "--model_name", state.model_name]
    command += ["--model_dir", server.revision.bundle, "--public_key", state.public_key, "--host", "127.0.0.1"]
    command += ["--http_port", str(server.http_port), "--grpc_port", str(server.grpc_port)]
    command += ["--model_version", server.revision.version, "--model_digest", server.revision.digest]
    command += ["--threads", str(state.threads)]
    command += access.audit_options(service, audit or server.revision.version)
    command += ["--drain_seconds", "0"]  # no route leads to it any more when it is stopped
    command += ["--api_keys", str(access.key_file(service))] if state.auth else ["--insecure_no_auth"]
    key = decryption.options(service, server.revision.bundle)
    command += key
    log, variables = log_of(service, server), decryption.environment(key)
    server.daemon = processes.find(command) or processes.start(command, log, variables)


def stop(server: Server) -> None:
    """End its process when it has one."""
    if server.daemon:
        server.daemon.stop(STOP_GRACE_S)


def reason(service: Path, server: Server) -> str:
    """Why a server ended, in its own last words."""
    said = processes.last_line(log_of(service, server), containing="BundleRefused")
    said = said or processes.last_line(log_of(service, server)) or "it said nothing"
    return f"the model server of version {server.revision.version} ended: {said}"


def wait_ready(service: Path, server: Server, client: RestClient, timeout_s: float) -> None:
    """Return when it has answered some predictions, the slow first one included.

    Raises:
        RevisionFailed: it ended, did not answer in time, or answers with another bundle.
    """
    end = time.monotonic() + timeout_s
    answered = 0
    while answered < len(WARM_UP_TEXTS):
        if not server.alive():
            raise RevisionFailed(reason(service, server))
        if time.monotonic() > end:
            last = processes.last_line(log_of(service, server))
            raise RevisionFailed(
                f"version {server.revision.version} was not ready within {timeout_s:g} s (its last words: {last!r})"
            )
        answer = client.ask(server.http_port, WARM_UP_TEXTS[answered])
        if words := foreign(answer.reply, server.revision):
            raise RevisionFailed(words)
        if answer.reply is None:
            time.sleep(0.1)
        else:
            answered += 1


def check_digest(revision: Revision) -> None:
    """Compare a revision's bundle with what was registered.

    Raises:
        RevisionFailed: it is another one, or no bundle.
    """
    try:
        found = Bundle(revision.bundle).digest()
    except BadInput as error:
        raise RevisionFailed(str(error)) from error
    if found != revision.digest:
        raise RevisionFailed(
            f"the bundle of version {revision.version} was changed after its registration: its digest is {found}, "
            f"registered was {revision.digest}"
        )
