"""Checks whether routes split traffic as the record says: Knative's routes, or HTTPRoutes of the Gateway API."""

from typing import Any

from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.manifest import Mode, backend
from slipway.components.rollout.kserve.record import Record

KNATIVE_REVISION = "serving.knative.dev/revision"
PREDICTOR = "-predictor"
TAKEN = ("Accepted", "ResolvedRefs", "Programmed")
"""Conditions by which a gateway reports that it applied an HTTPRoute; not every gateway reports the last one."""
NEEDS = (
    "KServe splits the traffic of `spec.canary` from version 0.21 on, with `ingress.enableGatewayApi: true` in its "
    "configuration; this cluster has made no HTTPRoute with weights"
)


def routed(api: ServiceApi, mode: Mode, record: Record, newest: str | None) -> bool:
    """Whether new requests are split as the record says, and no route names anything else.

    Args:
        api: of the service.
        mode: of its deployment.
        record: the split that is expected.
        newest: name of the Knative revision that `spec.predictor` describes; None when it is not known.
    """
    if mode == "Knative":
        return _knative(api, record, newest)
    wanted, routes = _wanted(api.name, record), api.http_routes()
    if not routes:  # without HTTPRoutes a canary gets no traffic
        return len(wanted) < 2 or record.percent == 0
    return all(followed(route) and _names(route, wanted) for route in routes)


def splits(api: ServiceApi) -> bool:
    """Whether there are HTTPRoutes, and each has a weight for each of two revisions."""
    routes = api.http_routes()
    return bool(routes) and all(len(backends) > 1 for route in routes for backends in weights(route))


def weights(route: dict[str, Any]) -> list[dict[str, int]]:
    """The weights of predictors in each rule of an HTTPRoute that leads to predictors, by the name of the Service."""
    rules = []
    for rule in route.get("spec", {}).get("rules", []):
        backends = {backend["name"]: int(backend.get("weight", 1)) for backend in rule.get("backendRefs") or []}
        if any(name.endswith(PREDICTOR) for name in backends):  # else it leads to a transformer or an explainer
            rules.append(backends)
    return rules


def followed(route: dict[str, Any]) -> bool:
    """Whether every gateway of an HTTPRoute has applied its present generation, with all Services that it names."""
    generation, parents = route["metadata"].get("generation", 0), route.get("status", {}).get("parents") or []
    for parent in parents:
        conditions = {condition["type"]: condition for condition in parent.get("conditions", [])}
        if "Accepted" not in conditions:
            return False
        for condition in (conditions[kind] for kind in TAKEN if kind in conditions):
            if condition["status"] != "True" or condition.get("observedGeneration", generation) < generation:
                return False
    return bool(parents)


def _wanted(service: str, record: Record) -> dict[str, int]:
    """The weights that a record needs, by the name of the Service."""
    if record.champion and record.challenger:
        return {
            backend(service, record.champion): 100 - record.percent,
            backend(service, record.challenger): record.percent,
        }
    only = record.champion or record.challenger
    return {backend(service, only): 100} if only else {}


def _names(route: dict[str, Any], wanted: dict[str, int]) -> bool:
    """Whether each rule splits as wanted.

    KServe leaves a canary that is not ready out of the rule. The weight of a single Service does not matter.
    """
    rules = weights(route)
    for rule in rules:
        total = sum(rule.values())
        shares = {name: 100 * weight for name, weight in rule.items()}
        split = all(shares.get(name, 0) == share * total for name, share in wanted.items())
        if not total or not set(rule) <= set(wanted) or not split:
            return False
    return bool(rules)


def _knative(api: ServiceApi, record: Record, newest: str | None) -> bool:
    """`routed` for Knative mode."""
    service = api.knative_service()
    if service is None:
        return False
    traffic = [
        (target.get("latestRevision", False), target.get("percent", 0)) for target in service["spec"].get("traffic", [])
    ]
    split = record.champion is not None and (record.challenger is not None or record.restoring)
    percent = record.percent if split else 100
    if sum(share for latest, share in traffic if latest) != percent:
        return False  # KServe has not applied our change yet
    status = service.get("status", {})
    if status.get("observedGeneration") != service["metadata"]["generation"] or not _true(status, "RoutesReady"):
        return False
    shares: dict[str, int] = {}
    for target in status.get("traffic", []):
        shares[target["revisionName"]] = shares.get(target["revisionName"], 0) + (target.get("percent") or 0)
    return newest is None or percent == 0 or shares.get(newest, 0) == percent


def _true(status: dict[str, Any], kind: str) -> bool:
    """Whether the condition `kind` of a status is met."""
    conditions = status.get("conditions", [])
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)
