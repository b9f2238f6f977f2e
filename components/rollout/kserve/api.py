"""The few requests about one InferenceService that a rollout makes of the Kubernetes API."""

import json
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slipway.components.errors import BadInput
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect
from slipway.components.rollout.kserve.manifest import GROUP, MODE, PLURAL, VERSION, VERSION_LABEL, Mode
from slipway.components.rollout.kserve.objects import Kind, OwnObject

KIND = Kind(GROUP, VERSION, PLURAL, "InferenceService", needs="KServe")
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
CONTAINER = "kserve-container"
PORT = 8080
METRICS_PORT = "prometheus.io/port"
"""Annotation of a pod; where its model server's metrics are, with `PORT` for servers that have no port for them."""
KSERVE_NAMESPACE, KSERVE_CONFIG = "kserve", "inferenceservice-config"


class ServiceApi(OwnObject):
    """One InferenceService and its pods.

    Args:
        namespace: of the service.
        name: of the service.

    Raises:
        BadInput: there is no cluster to talk to. Every method raises it when the cluster does not let us, and
            `slipway.components.platforms.kubernetes_api.ApiAway` when the cluster cannot be reached.
    """

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(connect(), KIND, namespace, name)
        self._core = client.CoreV1Api(self.connection)

    def knative_service(self) -> dict[str, Any] | None:
        """The Knative Service that KServe made of it."""
        return self._object("serving.knative.dev", "v1", "services", f"{self.name}-predictor", needs="Knative Serving")

    def serving_runtime(self, name: str) -> dict[str, Any] | None:
        """A ServingRuntime of the namespace."""
        return self._object(GROUP, "v1alpha1", "servingruntimes", name, needs="KServe")

    def http_routes(self) -> list[dict[str, Any]]:
        """The HTTPRoutes that KServe made of it in Standard mode with the Gateway API; none also without that API.

        One is for the service's host, one for its predictor's; both name the Services of its revisions.
        """
        group, names = "gateway.networking.k8s.io", (self.name, f"{self.name}-predictor")
        try:
            found = [self._object(group, "v1", "httproutes", name, needs="the Gateway API") for name in names]
        except BadInput:
            return []
        return [route for route in found if route is not None]

    def gone(self) -> bool:
        """Whether nothing is left of the service that a new one of its name could meet."""
        if self.read() is not None or self.http_routes():
            return False
        try:
            return self.knative_service() is None
        except BadInput:  # without Knative
            return True

    def pods(self, version: str) -> list[Any]:
        """Pods (`V1Pod`) that serve a version and are not on their way out, by name."""
        selector = f"{SERVICE_LABEL}={self.name},{VERSION_LABEL}={version}"
        with asking("list pods"):
            found = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=TIMEOUT)
        return sorted(
            (pod for pod in found.items if not pod.metadata.deletion_timestamp), key=lambda p: p.metadata.name
        )

    def ask_pod(
        self,
        pod: Any,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 20.0,
        port: int = PORT,
    ) -> tuple[int, bytes]:
        """The HTTP status and body that a pod's model server answers with, through the API server's proxy.

        The status is 0 when nothing came back in time. `body` is sent as JSON by POST; without one, it is a GET. Where
        the pod (`V1Pod`) listens with TLS, so it is asked; the API server does not look at a pod's certificate.
        """
        place = f"{'https:' * _speaks_tls(pod)}{pod.metadata.name}:{port}"
        whole = f"/api/v1/namespaces/{self.namespace}/pods/{place}/proxy{path}"
        sent = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self.connection.call_api(
                whole,
                "GET" if body is None else "POST",
                header_params=sent | (headers or {}),
                body=None if body is None else body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=False,
                _request_timeout=(TIMEOUT[0], timeout_s),
            )[0]
        except ApiException as error:
            said = error.body.encode() if isinstance(error.body, str) else bytes(error.body or b"")
            if error.status in (401, 403) and b"pods/proxy" in said:
                raise BadInput(
                    f"the cluster does not let us reach pods through the API server ({error.reason}); the rollout "
                    "needs get and create on pods/proxy; see manifests/base/rbac.yaml"
                ) from error
            return int(error.status or 0), said
        except (HTTPError, OSError):
            return 0, b""
        return int(answer.status), bytes(answer.data)

    def mode(self, wanted: str) -> Mode:
        """The deployment mode: of the service that is there, as `wanted`, or the cluster's default.

        Args:
            wanted: `Knative`, `Standard`, or `auto`.
        """
        there = self.read()
        known = (there or {}).get("status", {}).get("deploymentMode") or (
            (there or {}).get("metadata", {}).get("annotations", {}).get(MODE)
        )
        if known:
            return _mode(known)
        return _mode(wanted if wanted != "auto" else self._default_mode())

    def _default_mode(self) -> str:
        """As KServe's configuration says; when we may not read it, Knative where Knative Serving is installed."""
        try:
            found = self._core.read_namespaced_config_map(KSERVE_CONFIG, KSERVE_NAMESPACE, _request_timeout=TIMEOUT)
            return str(json.loads(found.data["deploy"])["defaultDeploymentMode"])
        except (ApiException, KeyError, TypeError, ValueError):
            groups = {group.name for group in client.ApisApi(self.connection).get_api_versions().groups}
            return "Knative" if "serving.knative.dev" in groups else "Standard"


def _speaks_tls(pod: Any) -> bool:
    """Whether a pod's model server listens with TLS at all its ports: the kubelet, which looks at one, is told so."""
    probes = [found.readiness_probe for found in (pod.spec.containers if pod.spec else []) if found.name == CONTAINER]
    return any(probe.http_get.scheme == "HTTPS" for probe in probes if probe and probe.http_get)


def _mode(name: str) -> Mode:
    """KServe's names of the modes, old ones too."""
    if name in ("Knative", "Serverless"):
        return "Knative"
    if name in ("Standard", "RawDeployment"):
        return "Standard"
    raise BadInput(f"the deployment mode {name!r} of KServe is not supported; use Knative or Standard")
