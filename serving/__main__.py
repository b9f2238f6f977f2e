"""Start a model server: `python -m slipway.serving --model_name NAME --model_dir DIR --public_key PEM`.

Exit codes: 0 stopped by a signal, 1 the bundle cannot be served, 2 bad arguments or a port in use, 3 bundle refused.
After codes 1 to 3 the last line on stderr is `Class: reason`. With `--on_refused serve_reason` a server whose bundle
is refused stays alive but not ready, and its readiness probe returns the reason.
"""

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.components.artifacts.encryption import VARIABLE, key_of
from slipway.components.errors import BundleRefused, SlipwayError
from slipway.components.machine.cpu_count import cores
from slipway.serving import options as call_options
from slipway.serving.audit import options as audit_options
from slipway.serving.telemetry import log

if TYPE_CHECKING:
    from slipway.serving.model.kserve_model import BundleModel
    from slipway.serving.model.repository import Unloaded

REFUSED = 3
EXIT, SERVE_REASON = "exit", "serve_reason"
logger = logging.getLogger("serving")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        "python -m slipway.serving", description="Serve one bundle over KServe's protocols."
    )
    add = parser.add_argument
    add("--model_name", required=True, help="name in the paths of the protocols")
    add("--model_dir", required=True, type=Path, help="folder of the bundle")
    add("--model_version", default="", help="version that answers state (default: start of the bundle's digest)")
    add("--model_digest", default="", metavar="sha256:…", help="the only bundle to serve (default: any of this model)")
    trust = parser.add_mutually_exclusive_group(required=True)
    trust.add_argument("--public_key", type=Path, help="PEM file of the signer, or folder of several")
    trust.add_argument("--allow_unsigned", action="store_true", help="load whatever is in the folder; for experiments")
    add(
        "--decryption_key",
        default="",
        metavar="FILE|kms:[KEY-ID]",
        help=f"of an encrypted bundle (default: ${VARIABLE})",
    )
    add("--on_refused", choices=(EXIT, SERVE_REASON), default=EXIT, help="bundle refused (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address of both ports (default: %(default)s; 0.0.0.0 in a container)")
    add("--http_port", type=int, default=8080, help="port of REST (default: %(default)s)")
    add("--grpc_port", type=int, default=8081, help="port of gRPC (default: %(default)s)")
    add("--metrics_port", type=int, default=0, help="of /metrics alone, without a key (default: REST's, with one)")
    add("--threads", type=int, default=0, help="threads of one inference (default: what is fastest here)")
    add("--drain_seconds", type=float, default=1.0, help="time between SIGTERM and closed ports (default: %(default)s)")
    audit_options.add_to(parser)
    call_options.add_to(parser)
    return parser.parse_args(arguments)


def serve(options: argparse.Namespace) -> None:
    """Verify and load the bundle, then serve it until the process gets a signal to stop.

    Raises:
        BadInput: an option cannot be used, a port is in use, or the folder is not a bundle.
        BundleRefused: the bundle is not what the owner of the public key signed.
        SlipwayError: the bundle cannot be loaded or cannot answer.
    """
    started = time.perf_counter()
    threads = options.threads or cores()
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # the tokenizer reads it once, at its first use
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would copy bytes of unknown clients into the log

    # These imports are slow, so a wrong argument is reported before them. The variables above must be set first.
    from slipway.components.artifacts.signing import Wanted
    from slipway.serving.model.loading import load_model, verified
    from slipway.serving.ports import bind

    limits = call_options.limits_of(options)
    access = call_options.access_of(options, limits)
    certificates = call_options.certificates_of(options)
    http = bind(options.host, options.http_port)
    bind(options.host, options.grpc_port).close()  # gRPC binds by itself, but only after the slow load of the model
    metrics = call_options.metrics_socket(options)
    decryption_key = key_of(options.decryption_key) if options.decryption_key else None

    wanted = Wanted(options.model_name, options.model_digest)

    def load() -> "BundleModel":
        bundle = verified(options.model_dir, options.public_key, wanted, decryption_key)
        return load_model(options.model_name, options.model_version, bundle, options.threads, limits)

    model = model_or_reason(load, options)
    logger.info("event=started model=%s seconds=%.1f", model.name, time.perf_counter() - started)

    from slipway.serving.server import BundleServer

    audit = audit_options.audit_of(options)
    server = BundleServer(
        options.host,
        http,
        options.grpc_port,
        limits,
        access,
        load,
        certificates,
        options.drain_seconds,
        audit=audit,
        metrics=metrics,
    )
    server.run(model)


def model_or_reason(load: Callable[[], "BundleModel"], options: argparse.Namespace) -> "BundleModel | Unloaded":
    """Return the model. If its bundle is refused and the options allow it, return a placeholder with the reason.

    Raises:
        BundleRefused: the bundle is refused, and `--on_refused` is `exit`.
        SlipwayError: the bundle cannot be loaded or cannot answer.
    """
    from slipway.serving.model.loading import public_reason

    try:
        model = load()
    except BundleRefused as error:
        if options.on_refused == EXIT:
            raise
        logger.error("event=refused_to_serve reason=%r", str(error))
        from slipway.serving.model.repository import Unloaded
        from slipway.serving.telemetry.metrics import ModelMetrics

        name, version = options.model_name, options.model_version
        return Unloaded(name, version, ModelMetrics(name, version, ""), public_reason(error, options.model_dir))
    logger.info("event=loaded model=%s version=%s digest=%s", model.name, model.version, model.digest)
    return model


def main(arguments: list[str]) -> int:
    """Run the command and return the exit code."""
    options = parse_arguments(arguments)
    log.configure()
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # kserve's default response class
    try:
        serve(options)
    except SlipwayError as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return REFUSED if isinstance(error, BundleRefused) else error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
