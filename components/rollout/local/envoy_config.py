"""The configuration of Envoy: plain dictionaries in the form of its v3 API, written as JSON by the local service.

The bootstrap never changes while Envoy runs. Clusters and routes come from files that Envoy watches (file-based
xDS), so replacing a file moves the traffic. Requests in flight end at the server where they began; new requests take
the new routes.

Each revision has three clusters: for REST predictions, for gRPC predictions, and for all other requests (health,
metadata), which only the champion answers.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.components.rollout.local import envoy_edge, envoy_evidence

Json = dict[str, Any]

CLUSTERS_FILE, ROUTES_FILES = "clusters.json", {"rest": "routes-rest.json", "grpc": "routes-grpc.json"}
UPSTREAM_TIMEOUT = "15s"
GRPC_SERVICE, GRPC_METHOD = "inference.GRPCInferenceService", "ModelInfer"
TAP_CLUSTER = "tap"
VERSION_HEADER = "x-slipway-version"
STATS_INTERVAL_S = 0.05

_PREDICTION = {
    # `envoy_edge` lets Envoy normalise paths, which decodes what need not be escaped; a colon may come in either form.
    "rest": r"(/v2/models/[^/]+(/versions/[^/]+)?/infer|/v1/models/[^/]+(:|%3[Aa])(predict|explain))",
    "grpc": f"/{GRPC_SERVICE}/{GRPC_METHOD}".replace(".", r"\."),
}
_NO_ADDRESS = "192.0.2.0"  # reserved for documentation (RFC 5737), so no client has it
_API = "type.googleapis.com/envoy"
_HTTP = f"{_API}.extensions.filters.http"
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True)
class Upstream:
    """A revision as Envoy sees it: its version and where it listens on this machine."""

    version: str
    http_port: int
    grpc_port: int

    def cluster(self, kind: str) -> str:
        """The name of one of its clusters: `rest`, `grpc` or `other`."""
        return f"revision-{self.version}-{kind}"


def bootstrap(folder: Path, host: str, http_port: int, grpc_port: int, admin: str) -> Json:
    """The configuration that Envoy starts with.

    Args:
        folder: holds the files of clusters and routes.
        host: address of both public ports.
        http_port: of REST.
        grpc_port: of gRPC.
        admin: the Unix socket of its administration. Over TCP every user of this machine could stop Envoy.
    """
    return {
        "node": {"id": "slipway", "cluster": "slipway"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "stats_config": {"histogram_bucket_settings": [envoy_evidence.buckets()]},
        "stats_flush_interval": f"{STATS_INTERVAL_S}s",
        "overload_manager": envoy_edge.overload_manager(),
        "dynamic_resources": {"cds_config": _watched(folder / CLUSTERS_FILE)},
        "static_resources": {
            "listeners": [
                _listener("rest", host, http_port, folder),
                _listener("grpc", host, grpc_port, folder),
            ]
        },
    }


@dataclass(frozen=True)
class Assignment:
    """How predictions are split and copied."""

    percent: int = 0
    """The challenger's share of predictions."""
    sticky_header: str = ""
    """Requests with equal values of this header go to the same revision; empty: each is routed at random."""
    copied_percent: int = 0
    """The share of predictions that is copied to the tap."""


def clusters(upstreams: Sequence[Upstream], tap: str = "") -> Json:
    """The content of the file of clusters; `tap` is the socket that copies of requests go to, or empty."""
    entries = []
    for upstream in upstreams:
        for kind, port in (("rest", upstream.http_port), ("other", upstream.http_port), ("grpc", upstream.grpc_port)):
            entries.append(_cluster(upstream.cluster(kind), _address("127.0.0.1", port), http2=kind == "grpc"))
    if tap:
        entries.append(_cluster(TAP_CLUSTER, {"pipe": {"path": tap}}, http2=False))
    return _discovery("envoy.config.cluster.v3.Cluster", entries)


def routes(kind: str, champion: Upstream | None, challenger: Upstream | None, assigned: Assignment) -> Json:
    """The content of the file of routes of a listener (`rest` or `grpc`).

    Without a champion, and without a challenger that has all traffic, every request is answered with 503.
    """
    entries: list[Json] = []
    main, percent = champion or challenger, assigned.percent
    if main is None or (champion is None and percent < 100):
        body = {"inline_string": '{"error": "no model is served yet"}'}
        entries.append({"match": {"prefix": "/"}, "direct_response": {"status": 503, "body": body}})
    else:
        shares = [(champion, 100 - percent), (challenger, percent)] if challenger else [(main, 100)]
        weighted = [_weighted(upstream.cluster(kind), upstream, share) for upstream, share in shares if upstream]
        other = _weighted(main.cluster("other" if kind == "rest" else "grpc"), main, 100)
        match: Json = {"safe_regex": {"regex": _PREDICTION[kind]}}
        if kind == "grpc":
            match["grpc"] = {}  # a request that is no gRPC call fails at every server, and would count as a failure
        name = envoy_evidence.PREDICTION
        entries.append({"name": name, "match": match, "route": _prediction_route(weighted, assigned)})
        entries.append({"match": {"prefix": "/"}, "route": _route([other])})
    host = {"name": "slipway", "domains": ["*"], "routes": entries}
    return _discovery("envoy.config.route.v3.RouteConfiguration", [{"name": kind, "virtual_hosts": [host]}])


def _discovery(kind: str, resources: Sequence[Json]) -> Json:
    """A DiscoveryResponse. Its version is a digest of the content; Envoy reports the version that it has applied."""
    typed = [{"@type": f"type.googleapis.com/{kind}", **resource} for resource in resources]
    return {"version_info": hashlib.sha256(json.dumps(typed).encode()).hexdigest()[:16], "resources": typed}


def _watched(path: Path) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _route(weighted: Sequence[Json]) -> Json:
    """An action that splits requests by weight. A request that takes longer than `UPSTREAM_TIMEOUT` counts as an error.

    Only a request that never reached a server is sent again. After that, a response or a broken connection is evidence
    about the revision, and a retry would hide a bad challenger.
    """
    return {
        "weighted_clusters": {"clusters": list(weighted)},
        "timeout": UPSTREAM_TIMEOUT,
        "retry_policy": {"retry_on": "reset-before-request,refused-stream", "num_retries": 1},
    }


def _prediction_route(weighted: Sequence[Json], assigned: Assignment) -> Json:
    """The route of predictions: only these have sticky clients and copies.

    The challenger is the last cluster, so its range of hash values grows at one end: its clients stay with it.
    """
    route = _route(weighted)
    if assigned.sticky_header:
        route["weighted_clusters"]["use_hash_policy"] = True
        route["hash_policy"] = [{"header": {"header_name": assigned.sticky_header}}]
    if assigned.copied_percent:
        share = {"default_value": {"numerator": assigned.copied_percent, "denominator": "HUNDRED"}}
        route["request_mirror_policies"] = [{"cluster": TAP_CLUSTER, "runtime_fraction": share}]
    return route


def _weighted(name: str, upstream: Upstream, share: int) -> Json:
    header = {"header": {"key": VERSION_HEADER, "value": upstream.version}}
    return {"name": name, "weight": share, "response_headers_to_add": [header]}


def _cluster(name: str, address: Json, http2: bool) -> Json:
    protocol: Json = {"http2_protocol_options": envoy_edge.HTTP2} if http2 else {"http_protocol_options": {}}
    options: Json = {"@type": f"type.googleapis.com/{_PROTOCOL_OPTIONS}", "explicit_http_config": protocol}
    if not http2:
        # The model server closes idle connections too (`--idle_seconds`, 65 s). Envoy must close first: a request that
        # it sends on a connection that the server is closing fails, and would count against the revision.
        options["common_http_protocol_options"] = {"idle_timeout": "3s"}
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": envoy_edge.BUFFER_BYTES,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {_PROTOCOL_OPTIONS: options},
    }


def _listener(kind: str, host: str, port: int, folder: Path) -> Json:
    manager = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": kind,
        "codec_type": "AUTO",
        # No client may set Envoy's own headers: a shorter timeout, for example, would look like errors of a revision.
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": _NO_ADDRESS, "prefix_len": 32}]},
        "rds": {"route_config_name": kind, "config_source": _watched(folder / ROUTES_FILES[kind])},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{_HTTP}.router.v3.Router"}}],
        "access_log": envoy_evidence.access_log(kind),
        **envoy_edge.CONNECTION_MANAGER,
    }
    return {
        "name": kind,
        "address": _address(host, port),
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": envoy_edge.BUFFER_BYTES,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
