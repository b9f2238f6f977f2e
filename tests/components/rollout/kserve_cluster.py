"""A cluster in one process that does what KServe's Standard mode and a gateway do, at the moments at which they do it.

`kserve_http` lets it answer as API server and gateway. Once the InferenceService changed, KServe (0.21) makes
and removes Deployments and Services at once, changes the HTTPRoutes some time later, and the gateway follows later
still, after it said that it does. Autoscalers take every pod that they may take. Pods of the ServingRuntimes in `tls`
listen with TLS, and the gateway speaks so to the Services that a BackendTLSPolicy names.
"""

import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

NAME, NAMESPACE = "messages", "models"
POD_S, ROUTE_S, STATUS_S, GATEWAY_S = 0.1, 0.15, 0.05, 0.25
"""Until a pod is ready, a route is changed, and after that until the gateway says that it follows, and follows."""


class Refused(Exception):
    """A webhook says no, with this status."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class Deployment:
    """Pods of one predictor."""

    version: str
    tls: bool = False
    refuses: bool = False
    born: list[float] = field(default_factory=list)

    def scale(self, count: int) -> None:
        self.born = self.born[:count] + [time.monotonic()] * (count - len(self.born))

    def ready(self) -> int:
        return sum(self.is_ready(born) for born in self.born)

    def is_ready(self, born: float) -> bool:
        return not self.refuses and time.monotonic() - born >= POD_S


class Cluster:
    """One namespace with one InferenceService; `floor` is the pods that all traffic needs."""

    def __init__(self, floor: int = 1, splits: bool = True) -> None:
        self.floor, self.splits = floor, splits
        self.service: dict[str, Any] | None = None
        self.objects: dict[str, Any] = {}
        """What else the API server has, by path and query."""
        self.forbidden: set[str] = set()
        self.tls: set[str] = set()
        self.refused: set[str] = set()
        """Versions whose model servers refuse their bundle."""
        self.wrapped: set[str] = set()
        """Services that the gateway speaks TLS to."""
        self.policy_changed = 0.0
        self.deployments: dict[str, Deployment] = {}
        self.route: dict[str, int] = {}
        self.generation, self.changed, self.wanted_since = 0, 0.0, 0.0
        self.led: dict[str, int] = {}
        """What the gateway does."""
        self.answers: Counter[tuple[int, str]] = Counter()
        """Of the gateway to clients, by status and version."""
        self.shortages: set[str] = set()
        self.applied: list[dict[str, Any]] = []
        self.states = 0
        self.turn, self.last_apply = 0, 0.0
        self.lock = threading.RLock()

    def apply(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """What a server-side apply of the manager of all fields does, and of one of annotations alone."""
        with self.lock:
            self.check_state(wanted["metadata"].get("resourceVersion"), self.service)
            self.states += 1
            state = {"resourceVersion": str(self.states)}
            if "spec" not in wanted:
                assert self.service
                annotations = self.service["metadata"]["annotations"] | wanted["metadata"]["annotations"]
                self.service["metadata"] |= state | {"annotations": annotations}
                return self.service
            check(wanted["spec"], self.service)
            status = (self.service or {}).get("status", {})
            uid = {"uid": f"of-{NAME}"}
            self.service = wanted | {"status": status, "metadata": wanted["metadata"] | state | uid}
            self.applied.append(wanted["spec"])
            self.last_apply = time.monotonic()
            self.tick()
            return self.service

    def policy(self) -> Any:
        """The BackendTLSPolicy of the service."""
        return next((found for path, found in self.objects.items() if "/backendtlspolicies/" in path), None)

    def apply_other(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """The same of an object that is no InferenceService, of which nobody else has a field."""
        with self.lock:
            self.check_state(wanted["metadata"].get("resourceVersion"), self.objects.get(path))
            self.states += 1
            before = self.objects.get(path, {"metadata": {}})
            claims = "spec" not in wanted
            metadata = (before["metadata"] if claims else {}) | wanted["metadata"]
            self.objects[path] = before | wanted | {"metadata": metadata | {"resourceVersion": str(self.states)}}
            self.policy_changed = time.monotonic()
            return dict(self.objects[path])

    def delete(self, path: str, wanted: str | None) -> None:
        """Remove the InferenceService, or another object."""
        with self.lock:
            self.check_state(wanted, self.objects.get(path, self.service))
            if path in self.objects:
                del self.objects[path]
                self.policy_changed = time.monotonic()
            else:
                self.service = None

    @staticmethod
    def check_state(wanted: str | None, there: dict[str, Any] | None) -> None:
        """What the API server does with a `resourceVersion`; 0 is for objects that are not there."""
        found = there["metadata"]["resourceVersion"] if there else "0"
        if wanted and wanted != found:
            words = "must be specified for an update" if wanted == "0" else "the object has been modified"
            raise Refused(words, 422 if wanted == "0" else 409)

    def tick(self) -> None:
        """Let everybody do what is due."""
        with self.lock:
            now = time.monotonic()
            if self.service:
                self._deploy(self.service["spec"])
                self._lead(self.service["spec"], now)
            else:
                self.deployments, self.route = {}, {}
            if now - self.changed >= GATEWAY_S:
                self.led = dict(self.route)
            if now - self.policy_changed >= GATEWAY_S:
                policy = self.policy()
                self.wrapped = {found["name"] for found in policy["spec"]["targetRefs"]} if policy else set()
            self._watch()

    def _deploy(self, spec: dict[str, Any]) -> None:
        """What KServe's predictor reconciler does, canaries first; an orphan goes at once, with its Service."""
        stable, canaries = spec["predictor"], spec.get("canary", [])
        expected = {backend(found): found for found in (stable, *(canary["predictor"] for canary in canaries))}
        self.deployments = {name: self.deployments.get(name, Deployment(version(p))) for name, p in expected.items()}
        for name, found in expected.items():
            self.deployments[name].tls = found["model"]["runtime"] in self.tls
            self.deployments[name].refuses = version(found) in self.refused
        taken = 0
        for canary in canaries:
            deployment = self.deployments[backend(canary["predictor"])]
            deployment.scale(canary["predictor"]["minReplicas"])
            taken += canary["predictor"]["minReplicas"] if deployment.ready() else 0
        self.deployments[backend(stable)].scale(stable_minimum(stable["minReplicas"], taken))

    def _lead(self, spec: dict[str, Any], now: float) -> None:
        """What KServe's HTTPRoute reconciler does, some time after the Services changed."""
        stable = backend(spec["predictor"])
        canaries = [canary for canary in spec.get("canary", []) if self.splits]
        ready = [canary for canary in canaries if self.deployments[backend(canary["predictor"])].ready()]
        wanted = {stable: 100 - sum(canary["trafficPercent"] for canary in ready)}
        wanted |= {backend(canary["predictor"]): canary["trafficPercent"] for canary in ready}
        if wanted == self.route or not (self.route or self.deployments[stable].ready()):
            self.wanted_since = now
        elif now - self.wanted_since >= ROUTE_S:
            self.route, self.changed, self.wanted_since = wanted, now, now
            self.generation += 1
            assert self.service
            self.service["status"] = {"url": f"http://{NAME}-{NAMESPACE}.example.com", "deploymentMode": "Standard"}

    def _watch(self) -> None:
        """Note where a side has fewer ready pods than its share of traffic needs."""
        for name, weight in self.led.items():
            needed = math.ceil(self.floor * weight / 100)
            ready = self.deployments[name].ready() if name in self.deployments else 0
            if ready < needed:
                self.shortages.add(f"{name}: {ready} of {needed} pods for {weight} %")

    def quiet(self) -> bool:
        """Whether nothing is due any more: the gateway does what the InferenceService says."""
        with self.lock:
            now = time.monotonic()
            since = min(now - self.changed, now - self.last_apply)
            return since > POD_S + ROUTE_S + GATEWAY_S and self.led == self.route

    def settled(self) -> bool:
        """Whether all is done that was asked for, after what is due now."""
        self.tick()
        return bool(self.route) and self.quiet()

    def http_route(self) -> dict[str, Any]:
        """An HTTPRoute; its gateway says that it follows before it does."""
        observed = self.generation - (time.monotonic() - self.changed < STATUS_S)
        conditions = [
            {"type": kind, "status": "True", "observedGeneration": observed} for kind in ("Accepted", "ResolvedRefs")
        ]
        backends = [{"name": name, "weight": weight} for name, weight in self.route.items()]
        return {
            "metadata": {"name": NAME, "namespace": NAMESPACE, "generation": self.generation},
            "spec": {
                "parentRefs": [{"kind": "Gateway", "namespace": "kserve", "name": "kserve-ingress-gateway"}],
                "rules": [{"backendRefs": backends}],
            },
            "status": {"parents": [{"controllerName": "gateway.envoyproxy.io/x", "conditions": conditions}]},
        }

    def reached(self) -> tuple[int, str]:
        """Status and version that the gateway answers a new request with."""
        with self.lock:
            self.tick()
            if not self.led:
                return 404, ""
            self.turn = (self.turn + 37) % 100
            totals = zip(self.led, accumulate(self.led.values()), strict=True)
            name = next(name for name, total in totals if self.turn < total)
            found = self.deployments.get(name)
            if found is None:
                return 500, ""
            if found.tls != (name in self.wrapped):
                return 503, ""
            return (200, found.version) if found.ready() else (503, "")

    def pods(self, of_version: str) -> list[dict[str, Any]]:
        """The pods of a version."""
        return [
            {
                "metadata": {"name": f"{name}-{number}", "uid": f"{name}-{number}", "labels": {}},
                "spec": {"containers": [container(deployment.tls)]},
                "status": {"phase": "Running", "conditions": [condition(deployment.is_ready(born))]},
            }
            for name, deployment in self.deployments.items()
            if deployment.version == of_version
            for number, born in enumerate(deployment.born)
        ]


def container(tls: bool) -> dict[str, Any]:
    """A model server, and how the kubelet asks whether it is ready."""
    asked = {"path": "/v2/models/messages/ready", "port": 8080, "scheme": "HTTPS" if tls else "HTTP"}
    return {"name": "kserve-container", "readinessProbe": {"httpGet": asked}}


def condition(ready: bool) -> dict[str, str]:
    return {"type": "Ready", "status": str(ready)}


def backend(predictor: dict[str, Any]) -> str:
    """KServe's name of a predictor's Deployment and Service."""
    return f"{NAME}-{predictor['name']}-predictor"


def version(predictor: dict[str, Any]) -> str:
    return str(predictor["labels"]["slipway.dev/version"])


def stable_minimum(asked: int, ready_canary: int) -> int:
    """What KServe makes of the stable predictor's `minReplicas` (`adjustStableMinReplicasForCanaries`)."""
    return max(asked - ready_canary, 1) if ready_canary else asked


def check(spec: dict[str, Any], before: dict[str, Any] | None) -> None:
    """KServe's webhook, as far as canaries and replicas go (`validateCanarySpecs`, `validateReplicas`)."""
    stable = spec["predictor"]
    if stable["minReplicas"] > stable["maxReplicas"]:
        raise Refused("'MinReplicas' cannot be greater than MaxReplicas")
    for canary in (found["predictor"] for found in spec.get("canary", [])):
        if canary.get("maxReplicas") or "name" not in canary or canary["name"] == stable["name"]:
            raise Refused("canary: name or maxReplicas")
        if canary["minReplicas"] > stable["minReplicas"]:
            raise Refused("canary minReplicas must not exceed stable predictor minReplicas")
    old = (before or {"spec": spec})["spec"]["predictor"]
    if old["name"] != stable["name"] and old["model"]["storageUri"] == stable["model"]["storageUri"]:
        raise Refused("predictor.name change requires a model change")


def digest_for(of_version: str) -> str:
    """The digest of the bundle that a version stands for."""
    return f"sha256:{of_version:0>64}"
