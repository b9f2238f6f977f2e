"""Whether the gateway splits traffic as asked: Knative's routes, or HTTPRoutes of the Gateway API."""

from typing import Any

from components.rollout.kserve.api import ServiceApi
from components.rollout.kserve.manifest import Mode
from components.rollout.kserve.record import Record

KNATIVE_REVISION = "serving.knative.dev/revision"
NEEDS = (
    "KServe splits the traffic of `spec.canary` from version 0.21 on, with `ingress.enableGatewayApi: true` in its "
    "configuration; this cluster has made no HTTPRoute with weights"
)


def routed(api: ServiceApi, mode: Mode, record: Record, newest: str | None) -> bool:
    """Whether new requests are split as the record says.

    Args:
        api: of the service.
        mode: of its deployment.
        record: what is asked for.
        newest: name of the Knative revision that `spec.predictor` stands for, when it is known.
    """
    if mode == "Knative":
        return _knative(api, record, newest)
    shares = weights(api.http_route())
    if record.challenger is None or record.champion is None:
        return not shares or len([share for share in shares.values() if share]) == 1
    name = f"{api.name}-v{record.challenger.version}-predictor"
    return shares.get(name, 0) == record.percent  # without weights nothing goes to a canary


def splits(api: ServiceApi) -> bool:
    """Whether there is an HTTPRoute with a weight for each of two revisions."""
    return len(weights(api.http_route())) > 1


def weights(route: dict[str, Any] | None) -> dict[str, int]:
    """Weights by the name of the service behind an HTTPRoute, of its first rule that has any."""
    for rule in (route or {}).get("spec", {}).get("rules", []):
        if backends := rule.get("backendRefs"):
            return {backend["name"]: int(backend.get("weight", 1)) for backend in backends}
    return {}


def _knative(api: ServiceApi, record: Record, newest: str | None) -> bool:
    service = api.knative_service()
    if service is None:
        return False
    wanted = [
        (target.get("latestRevision", False), target.get("percent", 0)) for target in service["spec"].get("traffic", [])
    ]
    split = record.champion is not None and (record.challenger is not None or record.restoring)
    percent = record.percent if split else 100
    if sum(share for latest, share in wanted if latest) != percent:
        return False  # KServe has not seen our change yet
    status = service.get("status", {})
    if status.get("observedGeneration") != service["metadata"]["generation"] or not _true(status, "RoutesReady"):
        return False
    shares: dict[str, int] = {}
    for target in status.get("traffic", []):
        shares[target["revisionName"]] = shares.get(target["revisionName"], 0) + (target.get("percent") or 0)
    return newest is None or percent == 0 or shares.get(newest, 0) == percent


def _true(status: dict[str, Any], kind: str) -> bool:
    return any(found["type"] == kind and found["status"] == "True" for found in status.get("conditions", []))
