"""Starts, checks and stops a revision's model server: a background process of `python -m slipway.serving`."""

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
"""Time limit for a server to end after SIGTERM, in seconds."""
WARM_UP_TEXTS = ("hello", "a somewhat longer text, for the second of the first predictions", "good bye")


def new_server(revision: Revision) -> Server:
    """A server with free ports and no process yet."""
    http_port, grpc_port = processes.free_ports(2)
    return Server(revision, http_port, grpc_port, release=RELEASE)


def log_of(service: Path, server: Server) -> Path:
    """The file of a server's output. Each start has a new file, since it has new ports."""
    return service / "logs" / f"server-{server.revision.version}-{server.http_port}.log"


def start(service: Path, state: State, server: Server, audit: str = "") -> None:
    """Start a server's process, or find the one that a killed command started.

    Args:
        service: folder of the service.
        state: of the service.
        server: its field `daemon` is set.
        audit: name of its audit log, empty for the version. Only one server at a time can write a log.
    """
    command = [sys.executable, "-m", "slipway.serving", "--model_name", state.model_name]
    command += ["--model_dir", server.revision.bundle, "--public_key", state.public_key, "--host", "127.0.0.1"]
    command += ["--http_port", str(server.http_port), "--grpc_port", str(server.grpc_port)]
    command += ["--model_version", server.revision.version, "--model_digest", server.revision.digest]
    command += ["--threads", str(state.threads)]
    command += access.audit_options(service, audit or server.revision.version)
    command += ["--drain_seconds", "0"]  # no need to wait for clients, since no route leads to a server that is stopped
    command += ["--api_keys", str(access.key_file(service))] if state.auth else ["--insecure_no_auth"]
    key = decryption.options(service, server.revision.bundle)
    command += key
    log, variables = log_of(service, server), decryption.environment(key)
    server.daemon = processes.find(command) or processes.start(command, log, variables)


def stop(server: Server) -> None:
    """Stop a server's process, if it has one."""
    if server.daemon:
        server.daemon.stop(STOP_GRACE_S)


def reason(service: Path, server: Server) -> str:
    """Why a server ended: a sentence with the last line of its output, or the line that says it refused its bundle."""
    line = processes.last_line(log_of(service, server), containing="BundleRefused")
    line = line or processes.last_line(log_of(service, server)) or "it said nothing"
    return f"the model server of version {server.revision.version} ended: {line}"


def wait_ready(service: Path, server: Server, client: RestClient, timeout_s: float) -> None:
    """Return when the server has answered `WARM_UP_TEXTS`, so that its slow first prediction is over.

    Raises:
        RevisionFailed: the server ended, did not answer in time, or answers with another bundle.
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
        if message := foreign(answer.reply, server.revision):
            raise RevisionFailed(message)
        if answer.reply is None:
            time.sleep(0.1)
        else:
            answered += 1


def check_digest(revision: Revision) -> None:
    """Check that a revision's bundle has the registered digest.

    Raises:
        RevisionFailed: it has another digest, or is no bundle.
    """
    try:
        digest = Bundle(revision.bundle).digest()
    except BadInput as error:
        raise RevisionFailed(str(error)) from error
    if digest != revision.digest:
        raise RevisionFailed(
            f"the bundle of version {revision.version} was changed after its registration: its digest is {digest}, "
            f"registered was {revision.digest}"
        )
