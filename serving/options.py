"""The command-line options for access, TLS and limits of a model server."""

import argparse
import dataclasses
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.components.errors import BadInput
from slipway.serving.limits import Limits

if TYPE_CHECKING:
    from slipway.serving.access import Access
    from slipway.serving.access.caller import Scope
    from slipway.serving.access.tls import Certificates
    from slipway.serving.access.tokens import Tokens

DEFAULT_ALGORITHMS = "RS256,PS256,ES256,EdDSA"
DEFAULT_TYPES = "at+jwt,JWT,none"
JWKS_MAX_AGE = "that an issuer's keys are trusted while it does not answer; then tokens are refused"
LIMITS = {
    "max_texts": ("texts", "texts in one request"),
    "max_characters": ("characters", "characters of one text"),
    "max_body": ("body", "bytes of one request"),
    "max_bytes_at_hand": (
        "bytes_at_hand",
        "bytes of all requests that are not answered yet; more are refused with 429",
    ),
    "max_waiting": ("waiting", "texts admitted and not answered yet; more are refused with 429"),
    "batch_tokens": ("batch_tokens", "tokens of one inference, padding included"),
    "batch_padding": ("batch_padding", "share of the tokens of one inference that may be padding"),
    "batch_ms": ("batch_ms", "milliseconds that one inference should take at most"),
    "max_explained": ("explained_texts", "texts in one request for explanations"),
    "max_explained_words": (
        "explained_words",
        "words with an attribution each; in longer texts some share one",
    ),
    "explanation_inferences": ("explanation_inferences", "inferences that explain one text, about"),
    "max_explaining": ("explaining", "requests for explanations of one identity at the same time"),
    "concurrency": ("concurrency", "texts that one identity may have at hand; 0 for any number"),
    "rate": ("rate", "texts a second of one identity, an explanation counts as its inferences; 0: any"),
    "burst": ("burst", "texts that one identity may send at once after a pause; 0 for those of a second"),
    "max_connections": ("connections", "open connections of each port; beyond, those without a request are closed"),
    "header_seconds": ("header_seconds", "until the head of a request, or a handshake, is there"),
    "body_seconds": ("body_seconds", "until its body is there"),
    "send_seconds": ("send_seconds", "that a client may take to read an answer"),
    "idle_seconds": ("idle_seconds", "between two requests of a REST connection"),
}
"""For each option: the field of `Limits` that it sets, and its meaning."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    group = parser.add_argument_group("who may call (at least one of these; without, the server does not start)")
    add = group.add_argument
    add("--api_keys", type=Path, metavar="FILE", help="file of API keys, as `slipway keys add` makes it")
    add("--jwt_issuer", default="", metavar="URL", help="issuer of the tokens that are accepted")
    add("--jwt_audience", default="", metavar="NAME", help="audience that tokens must be for")
    add("--jwks", default="", metavar="URL|FILE", help="the issuer's keys (default: by its OpenID configuration)")
    add("--jwt_algorithms", default=DEFAULT_ALGORITHMS, metavar="A,B", help="for tokens (default: %(default)s)")
    add("--jwt_leeway", type=float, default=30.0, metavar="SECONDS", help="between the clocks (default: %(default)g)")
    add(
        "--jwt_types", default=DEFAULT_TYPES, metavar="A,B", help="of tokens, `none` for no type (default: %(default)s)"
    )
    add("--jwks_max_age", type=float, default=3600.0, metavar="SECONDS", help=f"{JWKS_MAX_AGE} (default: %(default)g)")
    add("--client_ca", type=Path, metavar="PEM", help="mutual TLS: every client must have a certificate of this CA")
    add("--client_scopes", default="predict,explain", help="of clients with nothing else (default: %(default)s)")
    add("--insecure_no_auth", action="store_true", help="answer everybody who reaches the ports; for experiments")
    add("--open_metrics", action="store_true", help=argparse.SUPPRESS)  # removed; `metrics_socket` explains
    group = parser.add_argument_group("TLS, on both ports")
    group.add_argument("--tls_cert", type=Path, metavar="PEM", help="the server's certificate and its chain")
    group.add_argument("--tls_key", type=Path, metavar="PEM", help="its private key")
    group = parser.add_argument_group("limits")
    defaults = Limits()
    for option, (field, meaning) in LIMITS.items():
        default = getattr(defaults, field)
        text = f"{meaning} (default: {default})"
        group.add_argument(f"--{option}", type=type(default), default=default, metavar="N", help=text)


def limits_of(options: argparse.Namespace) -> Limits:
    """Read the limits from the parsed options.

    Raises:
        BadInput: one of them is negative, or is 0 where 0 would let no request pass.
    """
    values = {field: getattr(options, option) for option, (field, _) in LIMITS.items()}
    may_be_zero = ("concurrency", "rate", "burst", "batch_padding")
    for option, (field, _) in LIMITS.items():
        if values[field] < 0 or (values[field] == 0 and field not in may_be_zero):
            raise BadInput(f"--{option} is {values[field]}; expected a number above 0")
    if values["bytes_at_hand"] < 2 * values["body"]:
        raise BadInput(
            f"--max_bytes_at_hand is {values['bytes_at_hand']}; expected at least twice --max_body ({values['body']}), "
            "since one identity may have half of it"
        )
    return dataclasses.replace(Limits(), **values)


def certificates_of(options: argparse.Namespace) -> "Certificates | None":
    """Return the files for TLS, or None for no TLS.

    Raises:
        BadInput: an option is given without another one that it needs.
    """
    from slipway.serving.access.tls import Certificates

    if options.tls_cert is None and options.tls_key is None:
        if options.client_ca:
            raise BadInput("--client_ca needs TLS: give --tls_cert and --tls_key, too")
        return None
    if options.tls_cert is None or options.tls_key is None:
        raise BadInput("--tls_cert and --tls_key belong together: give both")
    return Certificates(options.tls_cert, options.tls_key, options.client_ca)


def metrics_socket(options: argparse.Namespace) -> socket.socket | None:
    """Bind the port of the metrics, if they have their own.

    Raises:
        BadInput: the port is in use or is one of the other two, or the removed option `--open_metrics` is given.
    """
    from slipway.serving.ports import bind

    if options.open_metrics:
        raise BadInput(
            "--open_metrics is no more: clients reached /metrics through gateways. Give --metrics_port PORT, where it "
            "needs no key, and let nobody but scrapers and the rollout reach that port"
        )
    if not options.metrics_port:
        return None
    if options.metrics_port in (options.http_port, options.grpc_port):
        raise BadInput(f"--metrics_port is {options.metrics_port}, which is a port for clients; choose another")
    return bind(options.host, options.metrics_port)


def access_of(options: argparse.Namespace, limits: Limits) -> "Access":
    """Make the access checks from the parsed options.

    Raises:
        BadInput: no option says who may call, `--insecure_no_auth` contradicts another option, or a file or address
            cannot be used.
    """
    from slipway.serving.access import Access
    from slipway.serving.access.keys import ApiKeys
    from slipway.serving.access.quotas import Quotas

    needs_credentials = bool(options.api_keys or options.jwt_issuer or options.client_ca)
    if options.insecure_no_auth and needs_credentials:
        raise BadInput("--insecure_no_auth contradicts --api_keys, --jwt_issuer and --client_ca; leave it out")
    if not options.insecure_no_auth and not needs_credentials:
        raise BadInput(
            "nobody could call this server: give --api_keys FILE (`slipway keys add` makes one), --jwt_issuer or "
            "--client_ca; or --insecure_no_auth to answer everybody"
        )
    return Access(
        Quotas(limits),
        keys=ApiKeys(options.api_keys) if options.api_keys else None,
        tokens=_tokens(options),
        certificate_scopes=_scopes(options.client_scopes) if options.client_ca else frozenset(),
        insecure=options.insecure_no_auth,
    )


def _tokens(options: argparse.Namespace) -> "Tokens | None":
    from slipway.serving.access.jwks import FileKeys, UrlKeys
    from slipway.serving.access.tokens import Tokens

    if not options.jwt_issuer:
        if options.jwt_audience or options.jwks:
            raise BadInput("--jwt_audience and --jwks need --jwt_issuer")
        return None
    if not options.jwt_audience:
        raise BadInput("--jwt_issuer needs --jwt_audience: tokens for other services must not be good here")
    is_url = "://" in options.jwks or not options.jwks
    if not options.jwks_max_age > 0:
        raise BadInput(f"--jwks_max_age is {options.jwks_max_age}; expected a number of seconds above 0")
    url_keys = (options.jwks, options.jwt_issuer, options.jwks_max_age)
    keys = UrlKeys(*url_keys) if is_url else FileKeys(Path(options.jwks))
    algorithms, types = (
        [name.strip() for name in names.split(",") if name.strip()]
        for names in (options.jwt_algorithms, options.jwt_types)
    )
    return Tokens(options.jwt_issuer, options.jwt_audience, keys, algorithms, options.jwt_leeway, types)


def _scopes(names: str) -> "frozenset[Scope]":
    from slipway.serving.access.caller import Scope

    try:
        return frozenset(Scope(name.strip()) for name in names.split(",") if name.strip())
    except ValueError:
        raise BadInput(f"--client_scopes is {names!r}; choose from {', '.join(Scope)}") from None
