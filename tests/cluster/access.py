"""A cluster as the tests see it, and the locks with which test sessions share it."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRATCH = Path(tempfile.gettempdir()) / "slipway-test-cluster"
"""Locks, and the volumes of a cluster that makes none by itself."""

Say = Callable[[str], None]
"""Tells the person at the terminal what takes long."""


@contextmanager
def held(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """A lock among the test sessions of this machine.

    Raises:
        BlockingIOError: `how` has LOCK_NB, and another session holds it.
    """
    SCRATCH.mkdir(exist_ok=True)
    with (SCRATCH / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, how)
        yield


@dataclass(frozen=True)
class Cluster:
    """A cluster with the operators, and with Slipway's images on its nodes."""

    kubeconfig: str
    image: str
    """Of steps and trainers."""
    serving_image: str
    s3_image: str
    storage: bool
    """Whether it makes volumes by itself."""
    keep: bool
    """Whether what the tests make stays for the next time."""
    busybox: str = "busybox:1"
    """An image with a shell and little more."""

    def kubectl(self, *arguments: str, given: str = "", check: bool = True) -> str:
        """The output of kubectl; with `check`, an error when it fails."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", self.kubeconfig, *arguments], input=given, text=True, capture_output=True
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout + ("" if check else done.stderr)

    def read(self, *arguments: str) -> Any:
        """What `kubectl get` knows."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def as_account(self, account: str, namespace: str, folder: Path) -> str:
        """A kubeconfig with the rights of a service account, written to the folder."""
        token = self.kubectl("create", "token", account, "--namespace", namespace).strip()
        config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
        (folder / "kubeconfig").write_text(json.dumps(config))
        return str(folder / "kubeconfig")

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects given as JSON."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


@contextmanager
def forwarded(cluster: Cluster, namespace: str, service: str, port: int) -> Iterator[str]:
    """The address of a service from here; it stays when the service's pod is replaced by another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        here = probe.getsockname()[1]
    kubectl = f"kubectl --kubeconfig {cluster.kubeconfig} --namespace {namespace}"
    forever = f"while :; do {kubectl} port-forward service/{service} {here}:{port}; sleep 0.2; done"
    process = subprocess.Popen(
        ["bash", "-c", forever], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", here)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{here}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
