"""Limits that protect Envoy from untrusted clients, after the list for edge proxies in Envoy's documentation.

https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge
"""

import resource
from typing import Any

Json = dict[str, Any]

BUFFER_BYTES = 32 * 1024
"""Buffer of a connection in each direction. When it is full, Envoy stops reading until the other side has read."""
HEAP_BYTES = 512 * 1024 * 1024
MOST_CONNECTIONS = 10_000
DESCRIPTORS_PER_CONNECTION = 3
"""One for the client's connection, one for the connection to a server, and one for other open files."""
_MONITORS = "type.googleapis.com/envoy.extensions.resource_monitors"
HTTP2: Json = {
    "max_concurrent_streams": 100,
    "initial_stream_window_size": 64 * 1024,
    "initial_connection_window_size": 1024 * 1024,
}
CONNECTION_MANAGER: Json = {
    "common_http_protocol_options": {
        "idle_timeout": "30s",
        "max_headers_count": 100,
        # Servers behind the proxy may treat `x_api_key` and `x-api-key` as the same header.
        "headers_with_underscores_action": "REJECT_REQUEST",
    },
    # Old clients and health checks speak HTTP/1.0, which has no field Host.
    "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "slipway"},
    "http2_protocol_options": HTTP2,
    "max_request_headers_kb": 32,
    "request_headers_timeout": "10s",
    "request_timeout": "60s",
    "stream_idle_timeout": "60s",
    # Each path has one form before it is routed. Else an escaped path would bypass the route that counts predictions.
    "normalize_path": True,
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "REJECT_REQUEST",
    "server_name": "slipway",
}


def overload_manager() -> Json:
    """The limits of memory and connections, and what Envoy does when it comes close to them."""
    heap = {"@type": f"{_MONITORS}.fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": HEAP_BYTES}
    connections = {
        "@type": f"{_MONITORS}.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": most_connections(),
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
        ],
        "actions": [
            _above_heap("envoy.overload_actions.shrink_heap", 0.9),
            _above_heap("envoy.overload_actions.disable_http_keepalive", 0.9),
            _above_heap("envoy.overload_actions.stop_accepting_requests", 0.95),
            _above_heap("envoy.overload_actions.stop_accepting_connections", 0.98),
        ],
    }


def most_connections() -> int:
    """Most connections of clients: as many as this user's limit of file descriptors (RLIMIT_NOFILE) allows."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(descriptors // DESCRIPTORS_PER_CONNECTION, MOST_CONNECTIONS), 1)


def _above_heap(action: str, share: float) -> Json:
    return {"name": action, "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": share}}]}
