"""Whether NetworkPolicies let a pod reach another, by the semantics of networking.k8s.io/v1.

A direction of a pod that no policy selects is open; once one selects it, only what a rule of some policy lists is
allowed. A connection needs both: egress of the pod that opens it, and ingress of the other. Traffic of a pod's own node
is always allowed, and is not looked at here.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod, or an address that is none's."""

    namespace: str = ""
    """Empty for an address that is no pod's."""
    labels: dict[str, str] = field(default_factory=dict)
    namespace_labels: dict[str, str] = field(default_factory=dict)
    """Besides `kubernetes.io/metadata.name`, which every namespace has."""
    address: str = "10.244.7.7"


def allowed(policies: Sequence[Object], source: Peer, destination: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may open a connection to a port of `destination`."""
    return _open(policies, source, destination, "Egress", port, protocol) and _open(
        policies, destination, source, "Ingress", port, protocol
    )


def _open(policies: Iterable[Object], pod: Peer, other: Peer, direction: str, port: int, protocol: str) -> bool:
    """Whether the policies of a pod allow one direction of it."""
    if not pod.namespace:
        return True
    own = [policy for policy in policies if _selects(policy, pod) and direction in policy["spec"]["policyTypes"]]
    field_name, peers = direction.lower(), {"Egress": "to", "Ingress": "from"}[direction]
    return not own or any(
        _matches_peer(rule.get(peers, []), other, policy["metadata"]["namespace"])
        and _matches_port(rule.get("ports", []), port, protocol)
        for policy in own
        for rule in policy["spec"].get(field_name) or []
    )


def _selects(policy: Object, pod: Peer) -> bool:
    here = policy["metadata"]["namespace"] == pod.namespace
    return here and _matches_labels(policy["spec"]["podSelector"], pod.labels)


def _matches_peer(peers: Sequence[Object], other: Peer, namespace: str) -> bool:
    """Whether one of the peers of a rule is `other`; a rule without peers is about everybody."""
    return not peers or any(_is(peer, other, namespace) for peer in peers)


def _is(peer: Object, other: Peer, namespace: str) -> bool:
    if "ipBlock" in peer:
        address, block = ipaddress.ip_address(other.address), peer["ipBlock"]
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(one) for one in block.get("except", []))
    if not other.namespace:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": other.namespace} | other.namespace_labels
        if not _matches_labels(peer["namespaceSelector"], labels):
            return False
    elif other.namespace != namespace:
        return False
    return _matches_labels(peer.get("podSelector", {}), other.labels)


def _matches_port(ports: Sequence[Object], port: int, protocol: str) -> bool:
    """Whether one of the ports of a rule is `port`; a rule without ports is about all."""
    return not ports or any(
        item.get("protocol", "TCP") == protocol
        and ("port" not in item or item["port"] <= port <= (item.get("endPort") or item["port"]))
        for item in ports
    )


def _matches_labels(selector: Object, labels: dict[str, str]) -> bool:
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(_holds(expression, labels) for expression in selector.get("matchExpressions", []))


def _holds(expression: Object, labels: dict[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    return {
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
    }[expression["operator"]]
