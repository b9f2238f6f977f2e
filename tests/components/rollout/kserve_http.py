"""The API server and the gateway of a cluster in one process (`kserve_cluster`), over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.components.rollout.kserve_cluster import NAME, NAMESPACE, Cluster, Refused, digest_for

ISVC = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/{NAME}"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/"
RUNTIMES = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes/"
SPEAKS_TLS = {"slipway.dev/tls-host": "model-servers.slipway.svc", "slipway.dev/tls-authority": "slipway-ca"}
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
PORT = ":8080/proxy"
METRICS = """# TYPE slipway_requests_total counter
slipway_requests_total{{method="infer",source="client",code="200"}} {count}
# TYPE slipway_request_duration_seconds histogram
slipway_request_duration_seconds_bucket{{method="infer",source="client",le="0.01"}} {count}
slipway_request_duration_seconds_bucket{{method="infer",source="client",le="+Inf"}} {count}
"""
"""What a model server counted of its clients' requests; the first pod of a revision has them all."""


def told(of_version: str) -> dict[str, Any]:
    """A model server's answer: to a prediction and to a question for its metadata."""
    outputs = [
        {"name": "label", "shape": [1], "datatype": "BYTES", "data": ["billing"]},
        {
            "name": "probabilities",
            "shape": [1, 1],
            "datatype": "FP32",
            "data": [1.0],
            "parameters": {"labels": '["billing"]'},
        },
    ]
    parameters = {"bundle_digest": digest_for(of_version)}
    return {"model_version": of_version, "outputs": outputs, "versions": [of_version], "parameters": parameters}


class _Answer(BaseHTTPRequestHandler):
    cluster: Cluster

    def _send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_text(self, content: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content.encode())

    def _missing(self, name: str) -> None:
        self._send(404, {"kind": "Status", "message": f"{name} not found", "details": {"name": name}})

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class _Gateway(_Answer):
    def do_GET(self) -> None:  # noqa: N802
        status, version = self.cluster.reached()
        self._send(status, told(version))

    def do_POST(self) -> None:  # noqa: N802
        self._body()
        status, version = self.cluster.reached()
        self.cluster.answers[status, version] += 1
        self._send(status, told(version))


class _Api(_Answer):
    def do_GET(self) -> None:  # noqa: N802
        cluster, parts = self.cluster, urlsplit(self.path)
        with cluster.lock:
            cluster.tick()
            if parts.path == ISVC and cluster.service:
                self._send(200, cluster.service)
            elif parts.path.startswith(ROUTES) and cluster.route:
                self._send(200, cluster.http_route())
            elif parts.path == PODS:
                (selector,) = parse_qs(parts.query)["labelSelector"]
                self._send(200, {"items": cluster.pods(selector.rpartition("=")[2])})
            elif PORT in parts.path:
                self._ask_pod(parts.path)
            elif (path := unquote(self.path)) in cluster.objects:
                self._send(200, cluster.objects[path])
            elif parts.path.startswith(RUNTIMES) and (name := parts.path.removeprefix(RUNTIMES)) in cluster.tls:
                self._send(200, {"metadata": {"name": name, "annotations": SPEAKS_TLS}})
            elif path in cluster.forbidden:
                self._send(403, {"kind": "Status", "message": "forbidden"})
            else:
                self._missing(parts.path.rpartition("/")[2])

    def _ask_pod(self, path: str) -> None:
        scheme, _, pod = path.partition(PORT)[0].rpartition("/")[2].rpartition(":")
        name, _, number = pod.rpartition("-")
        found = self.cluster.deployments.get(name)
        if not found or found.tls != (scheme == "https"):
            self._send(503, {})
        elif found.refuses:
            self._send(503, {"error": "BundleRefused: model.onnx was altered"})
        elif path.endswith("/metrics"):
            answered = 0 if int(number) else self.cluster.answers[200, found.version]
            self._send_text(METRICS.format(count=answered))
        else:
            self._send(200, told(found.version))

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        with self.cluster.lock:
            if PORT in self.path:
                self._ask_pod(self.path)
            else:
                self._keep(f"{self.path}/{body['metadata']['name']}", body)

    def do_PUT(self) -> None:  # noqa: N802
        self._keep(self.path, self._body())

    def _keep(self, path: str, body: Any) -> None:
        body["metadata"]["resourceVersion"] = "1"
        self.cluster.objects[path] = body
        self._send(200, body)

    def do_PATCH(self) -> None:  # noqa: N802
        try:
            path, body = urlsplit(self.path).path, self._body()
            self._send(200, self.cluster.apply(body) if path == ISVC else self.cluster.apply_other(path, body))
        except Refused as error:
            self._send(error.status, {"kind": "Status", "message": str(error)})

    def do_DELETE(self) -> None:  # noqa: N802
        options = self._body() or {}
        try:
            self.cluster.delete(self.path, options.get("preconditions", {}).get("resourceVersion"))
        except Refused as error:
            self._send(error.status, {"kind": "Status", "message": str(error)})
        else:
            self._send(200, {})


@contextmanager
def serving(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Addresses of the API server and of the gateway."""
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"cluster": cluster}))
        for kind in (_Api, _Gateway)
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{servers[0].server_port}", f"http://127.0.0.1:{servers[1].server_port}"
    for server in servers:
        server.shutdown()
        server.server_close()
