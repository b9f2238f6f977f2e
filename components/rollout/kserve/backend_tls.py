"""TLS from the gateway to model servers in Standard mode: which ServingRuntimes listen with it, what gateways are told.

A ServingRuntime says by two annotations that its servers listen with TLS. For each InferenceService with such
revisions there is a BackendTLSPolicy of the Gateway API, which names the revisions' Services, the host name in the
servers' certificates and the authority that signed them. A gateway speaks plain HTTP to Services that none names.

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
    """What a gateway must know of servers that listen with TLS."""

    host: str
    """The name in their certificates, the same for all of them."""
    authority: str
    """ConfigMap with the certificate of who signed them, as `ca.crt`."""


def of_runtime(runtime: dict[str, Any] | None, mode: manifest.Mode) -> Tls | None:
    """How a ServingRuntime listens; None for plain HTTP, and where there is none of its name.

    Raises:
        BadInput: with TLS, in a mode in which nothing could speak to it; or it says half of what must be known.
    """
    metadata = (runtime or {}).get("metadata", {})
    found = metadata.get("annotations") or {}
    if HOST not in found and AUTHORITY not in found:
        return None
    name = metadata["name"]
    if not (found.get(HOST) and found.get(AUTHORITY)):
        raise BadInput(f"the ServingRuntime {name} has one of the annotations {HOST} and {AUTHORITY}; give it both")
    if mode == "Knative":
        raise BadInput(
            f"the servers of the ServingRuntime {name} listen with TLS, which is for KServe's Standard mode: Knative's "
            "queue proxy speaks plain HTTP to them. Set cluster.runtime to one without TLS and encrypt by Knative "
            "itself (manifests/tls/knative), or set cluster.deployment_mode=Standard"
        )
    return Tls(found[HOST], found[AUTHORITY])


def policy(service: str, namespace: str, backends: list[str], tls: Tls, owner: dict[str, Any] | None) -> dict[str, Any]:
    """A BackendTLSPolicy.

    Args:
        service: the InferenceService whose name it has.
        namespace: of both.
        backends: Kubernetes Services that are spoken to with TLS.
        tls: how.
        owner: the InferenceService, with which it goes; None when that is not there yet.
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
    """The BackendTLSPolicy of one InferenceService. A service whose servers all listen without TLS has none.

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
        """Let the policy name this holder of the lease; see `Fence.claim`."""
        if self._listening(self._api.read()):
            self._fence.claim()

    def prepare(self, made: dict[str, Any], found: dict[str, Any] | None) -> None:
        """Let the gateway know how to speak to the revisions of an InferenceService, before that names them.

        Nothing is led to a revision that `made` leaves out, so the gateway need not know of it any more.

        Args:
            made: the InferenceService that will be applied.
            found: as it is now; None when it is not there.

        Raises:
            BadInput: its revisions listen in different ways with TLS, for which one policy is not enough.
        """
        wanted = self._listening(made)
        if len(set(wanted.values())) > 1:
            ways = " and ".join(f"{tls.host} (ConfigMap {tls.authority})" for tls in sorted(set(wanted.values())))
            raise BadInput(
                f"the revisions of {self._api.name} show certificates for {ways}; let their ServingRuntimes have the "
                f"same annotations {HOST} and {AUTHORITY}"
            )
        if wanted:
            tls = next(iter(wanted.values()))
            self._fence.apply(policy(self._api.name, self._api.namespace, list(wanted), tls, found))
        elif self._listening(found):
            self._fence.delete()

    def _listening(self, service: dict[str, Any] | None) -> dict[str, Tls]:
        """By the name of the Service, how the revisions listen that do so with TLS."""
        return dict(self._each(service)) if service and self._mode == "Standard" else {}

    def _each(self, service: dict[str, Any]) -> Iterator[tuple[str, Tls]]:
        known: dict[str, Tls | None] = {}
        for predictor in manifest.predictors(service):
            name = predictor.get("model", {}).get("runtime", "")
            if name and name not in known:
                known[name] = self.runtime(name)
            if tls := known.get(name):
                yield manifest.backend_of(self._api.name, predictor), tls
