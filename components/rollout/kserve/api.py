"""Requests of a rollout to the Kubernetes API about one InferenceService, its routes and its pods."""

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
"""Annotation of a pod with the port of its model server's metrics; without it they are at `PORT`."""
KSERVE_NAMESPACE, KSERVE_CONFIG = "kserve", "inferenceservice-config"


class ServiceApi(OwnObject):
    """One InferenceService and its pods.

    Args:
        namespace: of the service.
        name: of the service.

    Raises:
        BadInput: there is no cluster. Every method raises it when the cluster denies the request, and
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
        """The HTTPRoutes that KServe made of it in Standard mode; empty also in a cluster without the Gateway API.

        One is for the host of the service, one for the host of its predictor. Both name the Services of its revisions.
        """
        group, names = "gateway.networking.k8s.io", (self.name, f"{self.name}-predictor")
        try:
            routes = [self._object(group, "v1", "httproutes", name, needs="the Gateway API") for name in names]
        except BadInput:
            return []
        return [route for route in routes if route is not None]

    def gone(self) -> bool:
        """Whether the service is removed with its routes, so that a new service of its name inherits nothing."""
        if self.read() is not None or self.http_routes():
            return False
        try:
            return self.knative_service() is None
        except BadInput:  # the cluster has no Knative
            return True

    def pods(self, version: str) -> list[Any]:
        """The pods (`V1Pod`) of a version that are not being deleted, sorted by name."""
        selector = f"{SERVICE_LABEL}={self.name},{VERSION_LABEL}={version}"
        with asking("list pods"):
            listed = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=TIMEOUT)
        return sorted(
            (pod for pod in listed.items if not pod.metadata.deletion_timestamp), key=lambda p: p.metadata.name
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
        """Send a request to a pod's model server through the API server's proxy; return the HTTP status and the body.

        The API server uses TLS for a pod that listens with TLS, and does not check the pod's certificate.

        Args:
            pod: the pod (`V1Pod`).
            path: path of the request.
            body: sent as JSON by POST; None sends a GET.
            headers: of the request.
            timeout_s: time limit of the response, in seconds.
            port: port of the pod.

        Returns:
            The HTTP status, 0 without a response in time, and the body.

        Raises:
            BadInput: the cluster denies requests to pods.
        """
        pod_and_port = f"{'https:' * _speaks_tls(pod)}{pod.metadata.name}:{port}"
        proxy_path = f"/api/v1/namespaces/{self.namespace}/pods/{pod_and_port}/proxy{path}"
        content_type = {"Content-Type": "application/json"} if body is not None else {}
        try:
            response = self.connection.call_api(
                proxy_path,
                "GET" if body is None else "POST",
                header_params=content_type | (headers or {}),
                body=None if body is None else body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=False,
                _request_timeout=(TIMEOUT[0], timeout_s),
            )[0]
        except ApiException as error:
            error_body = error.body.encode() if isinstance(error.body, str) else bytes(error.body or b"")
            if error.status in (401, 403) and b"pods/proxy" in error_body:  # the API server's denial, not the pod's
                raise BadInput(
                    f"the cluster does not let us reach pods through the API server ({error.reason}); the rollout "
                    "needs get and create on pods/proxy; see manifests/base/rbac.yaml"
                ) from error
            return int(error.status or 0), error_body
        except (HTTPError, OSError):
            return 0, b""
        return int(response.status), bytes(response.data)

    def mode(self, wanted: str) -> Mode:
        """The deployment mode: that of an existing service, else `wanted`, else the cluster's default.

        Args:
            wanted: `Knative`, `Standard`, or `auto` for the default.

        Raises:
            BadInput: the mode is not supported.
        """
        existing = self.read()
        mode = (existing or {}).get("status", {}).get("deploymentMode") or (
            (existing or {}).get("metadata", {}).get("annotations", {}).get(MODE)
        )
        if mode:
            return _mode(mode)
        return _mode(wanted if wanted != "auto" else self._default_mode())

    def _default_mode(self) -> str:
        """The mode in KServe's configuration; Knative without rights to read it where Knative Serving is installed."""
        try:
            config = self._core.read_namespaced_config_map(KSERVE_CONFIG, KSERVE_NAMESPACE, _request_timeout=TIMEOUT)
            return str(json.loads(config.data["deploy"])["defaultDeploymentMode"])
        except (ApiException, KeyError, TypeError, ValueError):
            groups = {group.name for group in client.ApisApi(self.connection).get_api_versions().groups}
            return "Knative" if "serving.knative.dev" in groups else "Standard"


def _speaks_tls(pod: Any) -> bool:
    """Whether a pod's model server listens with TLS at all its ports, according to its readiness probe."""
    containers = pod.spec.containers if pod.spec else []
    probes = [container.readiness_probe for container in containers if container.name == CONTAINER]
    return any(probe.http_get.scheme == "HTTPS" for probe in probes if probe and probe.http_get)


def _mode(name: str) -> Mode:
    """The mode with one of KServe's names, which include the old ones. Raises BadInput for any other name."""
    if name in ("Knative", "Serverless"):
        return "Knative"
    if name in ("Standard", "RawDeployment"):
        return "Standard"
    raise BadInput(f"the deployment mode {name!r} of KServe is not supported; use Knative or Standard")
