"""TLS from the gateway to model servers in Standard mode, by a BackendTLSPolicy for each InferenceService.

A ServingRuntime declares by two annotations that its servers listen with TLS. Each InferenceService with such
revisions gets a BackendTLSPolicy of the Gateway API. It names the revisions' Services, the host name in the servers'
certificates and the authority that signed them. A gateway speaks plain HTTP to Services that no policy names.

https://gateway-api.sigs.k8s.io/reference/api-types/policy/backendtlspolicy/
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from slipway.components.errors import BadInput
from slipway.components.rollout.kserve import manifest
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.fence import Fence
from slipway.components.rollout.kserve.lease import Lease
from slipway.components.rollout.kserve.objects import Kind, OwnObject
from slipway.components.rollout.kserve.record import PREFIX

KIND = Kind("gateway.networking.k8s.io", "v1", "backendtlspolicies", "BackendTLSPolicy", "the Gateway API 1.4 or later")
HOST, AUTHORITY = PREFIX + "tls-host", PREFIX + "tls-authority"
"""Annotations of a ServingRuntime."""


class Tls(NamedTuple):
    """What a gateway must know about servers that listen with TLS."""

    host: str
    """The host name in the certificates of all servers."""
    authority: str
    """Name of the ConfigMap with the certificate of the authority that signed them, as `ca.crt`."""


def of_runtime(runtime: dict[str, Any] | None, mode: manifest.Mode) -> Tls | None:
    """How a ServingRuntime listens; None for plain HTTP, and for a runtime that does not exist.

    Raises:
        BadInput: it listens with TLS in Knative mode, where no client could reach it; or one annotation is missing.
    """
    metadata = (runtime or {}).get("metadata", {})
    annotations = metadata.get("annotations") or {}
    if HOST not in annotations and AUTHORITY not in annotations:
        return None
    name = metadata["name"]
    if not (annotations.get(HOST) and annotations.get(AUTHORITY)):
        raise BadInput(f"the ServingRuntime {name} has one of the annotations {HOST} and {AUTHORITY}; give it both")
    if mode == "Knative":
        raise BadInput(
            f"the servers of the ServingRuntime {name} listen with TLS, which is for KServe's Standard mode: Knative's "
            "queue proxy speaks plain HTTP to them. Set cluster.runtime to one without TLS and encrypt by Knative "
            "itself (manifests/tls/knative), or set cluster.deployment_mode=Standard"
        )
    return Tls(annotations[HOST], annotations[AUTHORITY])


def policy(service: str, namespace: str, backends: list[str], tls: Tls, owner: dict[str, Any] | None) -> dict[str, Any]:
    """A BackendTLSPolicy.

    Args:
        service: name of the InferenceService and of the policy.
        namespace: of both.
        backends: names of the Kubernetes Services to which the gateway uses TLS.
        tls: host name and authority of the servers' certificates.
        owner: the InferenceService, whose deletion deletes the policy; None when it does not exist yet.
    """
    metadata: dict[str, Any] = {"name": service, "namespace": namespace}
    metadata["labels"] = {"app.kubernetes.io/part-of": "slipway"}
    if owner:
        head = {key: owner[key] for key in ("apiVersion", "kind")}
        metadata["ownerReferences"] = [head | {key: owner["metadata"][key] for key in ("name", "uid")}]
    authority = {"group": "", "kind": "ConfigMap", "name": tls.authority}
    spec = {
        "targetRefs": [{"group": "", "kind": "Service", "name": name} for name in backends],
        "validation": {"hostname": tls.host, "caCertificateRefs": [authority]},
    }
    return KIND.head | {"metadata": metadata, "spec": spec}


class BackendTls:
    """The BackendTLSPolicy of one InferenceService. A service without TLS servers has no policy.

    Args:
        api: of the service.
        mode: of its deployment.
        lease: of its rollouts.
    """

    def __init__(self, api: ServiceApi, mode: manifest.Mode, lease: Lease) -> None:
        self._api, self._mode = api, mode
        self._fence = Fence(OwnObject(api.connection, KIND, api.namespace, api.name), lease)

    def runtime(self, name: str) -> Tls | None:
        """How a ServingRuntime listens; see `of_runtime`."""
        return of_runtime(self._api.serving_runtime(name), self._mode)

    def claim(self) -> None:
        """Write this holder's token into the policy; see `Fence.claim`."""
        if self._listening(self._api.read()):
            self._fence.claim()

    def prepare(self, fields: dict[str, Any], existing: dict[str, Any] | None) -> None:
        """Apply the policy for the revisions of an InferenceService, before the service names them.

        Revisions that `fields` leaves out get no requests any more, so the policy leaves them out too.

        Args:
            fields: the InferenceService that will be applied.
            existing: the present InferenceService; None when it does not exist.

        Raises:
            BadInput: its revisions have different host names or authorities, for which one policy is not enough.
        """
        by_service = self._listening(fields)
        if len(set(by_service.values())) > 1:
            ways = " and ".join(f"{tls.host} (ConfigMap {tls.authority})" for tls in sorted(set(by_service.values())))
            raise BadInput(
                f"the revisions of {self._api.name} show certificates for {ways}; let their ServingRuntimes have the "
                f"same annotations {HOST} and {AUTHORITY}"
            )
        if by_service:
            tls = next(iter(by_service.values()))
            self._fence.apply(policy(self._api.name, self._api.namespace, list(by_service), tls, existing))
        elif self._listening(existing):
            self._fence.delete()

    def _listening(self, service: dict[str, Any] | None) -> dict[str, Tls]:
        """The TLS of the revisions that listen with it, by the name of their Service."""
        return dict(self._each(service)) if service and self._mode == "Standard" else {}

    def _each(self, service: dict[str, Any]) -> Iterator[tuple[str, Tls]]:
        known: dict[str, Tls | None] = {}
        for predictor in manifest.predictors(service):
            name = predictor.get("model", {}).get("runtime", "")
            if name and name not in known:
                known[name] = self.runtime(name)
            if tls := known.get(name):
                yield manifest.backend_of(self._api.name, predictor), tls
