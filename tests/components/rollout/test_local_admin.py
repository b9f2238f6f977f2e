"""Nobody else on the machine reaches the proxy's administration, wherever the service's folder is."""

import json
import stat
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from slipway.components.rollout.local import processes
from slipway.components.rollout.local.envoy import Envoy
from slipway.components.rollout.local.envoy_config import Assignment


@pytest.mark.parametrize("depth", [0, 12], ids=["short path", "path too long for a socket"])
def test_the_administration_is_on_no_port_and_answers_its_user(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a-deep-folder"] * depth)
    envoy = Envoy(folder / "envoy", folder / "logs" / "envoy.log")
    assert (len(str(folder)) > 107) == bool(depth)
    envoy.put_clusters([], "", running=False)
    envoy.put_routes(None, None, Assignment(), running=False)
    ports = processes.free_ports(2)
    daemon = envoy.start("127.0.0.1", *ports)
    try:
        assert envoy.ready()
        assert not envoy.is_open()
        open_ports = [c.laddr.port for c in psutil.Process(daemon.pid).connections("tcp") if c.status == "LISTEN"]
        assert sorted(set(open_ports)) == sorted(ports)
        for port in ports:
            assert httpx.post(f"http://127.0.0.1:{port}/quitquitquit", trust_env=False).status_code == 503
        assert stat.S_IMODE((folder / "envoy" / "admin.sock").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "envoy").stat().st_mode) == 0o700
        envoy.put_routes(None, None, Assignment(percent=10), running=True)
    finally:
        daemon.stop(5.0)
    again = envoy.start("127.0.0.1", *ports)  # over the socket that the first one left
    again.stop(5.0)


def test_a_proxy_that_an_earlier_release_started_is_still_driven(tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"LIVE\n" if self.path == "/ready" else json.dumps({"stats": []}).encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "admin-address").write_text(f"127.0.0.1:{server.server_port}")
    envoy = Envoy(tmp_path, tmp_path / "log")
    try:
        assert envoy.ready()
        assert envoy.is_open()
    finally:
        server.shutdown()
