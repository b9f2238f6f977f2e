"""A real cluster for the tests: that of KUBECONFIG, or one that the test kit beside the repository starts.

KUBECONFIG           the operators of `manifests/install.sh` are there; SLIPWAY_IMAGE names an image that its nodes have
../shared/cluster    the kit; the image is built here, again when a file in it changed, unless SLIPWAY_IMAGE names one.
                     The cluster is taken down at the end, unless it was up before; then what the manifests made stays
                     for the next time.

Several test sessions may use a cluster at the same time: each has a namespace of its own, and the last one takes the
kit's cluster down.
"""

import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KIT = ROOT.parent / "shared" / "cluster" / "cluster"
IN_IMAGE = ("Dockerfile", ".dockerignore", "requirements.lock", "components", "pipelines", "serving")
ADDONS = ("training-operator", "kserve", "s3")
IMAGES = "dev.local/slipway-test"
SCRATCH = Path(tempfile.gettempdir()) / "slipway-test-cluster"
"""Locks, and the volumes of a cluster that makes none by itself."""

STARTED = SCRATCH / "started-by-tests"
"""Is there while the kit's cluster is one that a test session started."""

NEWEST = SCRATCH / "newest-image"

Say = Callable[[str], None]


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
    """A cluster with the operators, and with Slipway's image on its nodes."""

    kubeconfig: str
    image: str
    s3_image: str
    storage: bool
    """Whether it makes volumes by itself."""
    keep: bool
    """Whether what the tests make stays for the next time."""

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

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects given as JSON."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def run_kit(*arguments: str) -> str:
    """The output of the kit's command."""
    done = subprocess.run([str(KIT), *arguments], text=True, capture_output=True)
    assert done.returncode == 0, f"{KIT} {' '.join(arguments)}: {done.stderr[-3000:]}"
    return done.stdout + done.stderr


def content_digest() -> str:
    """Of everything that goes into the image."""
    whole = hashlib.sha256()
    for name in IN_IMAGE:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                whole.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return whole.hexdigest()[:12]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Tells the person at the terminal what takes long."""
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    began = time.monotonic()

    def write(words: str) -> None:
        reporter.ensure_newline()
        reporter.write_line(f"cluster tests, {time.monotonic() - began:3.0f} s: {words}")

    return write


@pytest.fixture(scope="session")
def cluster(say: Say) -> Iterator[Cluster]:
    """The cluster of KUBECONFIG, else the kit's, else the test is skipped."""
    if given := os.environ.get("KUBECONFIG"):
        image = os.environ.get("SLIPWAY_IMAGE")
        if not image:
            pytest.skip("KUBECONFIG is set: set SLIPWAY_IMAGE to an image of Slipway that the cluster's nodes have")
        yield Cluster(given, image, os.environ.get("S3_IMAGE", "versity/versitygw:v1.8.0"), storage=True, keep=False)
        return
    if not KIT.exists():
        pytest.skip("no cluster: set KUBECONFIG and SLIPWAY_IMAGE to test against one")
    if os.geteuid():
        pytest.skip("the test kit starts a cluster only as root; set KUBECONFIG to test against another one")
    with ExitStack() as use:
        use.enter_context(held("used", fcntl.LOCK_SH))
        try:
            with held("starting"):
                started = start_kit(say)
            yield started
        finally:
            with held("starting"):
                use.close()
                with suppress(BlockingIOError), held("used", fcntl.LOCK_EX | fcntl.LOCK_NB):
                    leave_kit(say)


def start_kit(say: Say) -> Cluster:
    """The kit's cluster with the operators and the image; what is there is not done again."""
    if subprocess.run([str(KIT), "ctr", "version"], capture_output=True).returncode:
        STARTED.touch()
        say("starting the test kit's cluster with its operators; the first time takes minutes")
    found = re.search(r"KUBECONFIG=(\S+)", run_kit("up"))
    assert found
    run_kit("install", *ADDONS)
    mend_waiting_for_the_master(found[1])
    image = os.environ.get("SLIPWAY_IMAGE") or kit_image(say)
    say(f"the cluster is up; the image is {image}")
    return Cluster(found[1], image, "dev.local/versitygw:1", storage=False, keep=not STARTED.exists())


def leave_kit(say: Say) -> None:
    """What the last session does: take down what a session started, and leave one image, since each takes gigabytes."""
    newest = NEWEST.read_text() if NEWEST.exists() else ""
    for image in run_kit("ctr", "images", "ls", "-q").split():
        if image.startswith(f"{IMAGES}:") and image != newest:
            run_kit("ctr", "images", "rm", image)
    if STARTED.exists():
        say("taking the test kit's cluster down")
        run_kit("down", "--keep-images")
        STARTED.unlink()


def mend_waiting_for_the_master(kubeconfig: str) -> None:
    """The operator's init container asks `nslookup` for the master's short name until it succeeds; that of the kit's
    busybox never does, since it also counts the search domains that do not have the name. Give it one that resolves
    as programs do.
    """
    tag = "dev.local/init-pytorch:1"
    if tag not in run_kit("ctr", "images", "ls", "-q").split():
        with tempfile.TemporaryDirectory() as folder:
            shim = r"""printf '#!/bin/sh\nexec getent hosts "$1"\n' >/usr/local/bin/nslookup"""
            lines = ["FROM python:3.11-slim", f"RUN {shim} && chmod +x /usr/local/bin/nslookup"]
            (Path(folder) / "Dockerfile").write_text("\n".join(lines) + "\n")
            run_kit("build", tag, folder)
    kubectl = ["kubectl", "--kubeconfig", kubeconfig, "--namespace", "kubeflow"]
    arguments = ["--enable-scheme=pytorchjob", f"--pytorch-init-container-image={tag}"]
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments}]
    change = ["patch", "deployment", "training-operator", "--type=json", "--patch", json.dumps(patch)]
    for command in (change, ["rollout", "status", "deployment/training-operator", "--timeout=180s"]):
        subprocess.run([*kubectl, *command], check=True, capture_output=True)


def kit_image(say: Say) -> str:
    """Build the image into the kit's node unless it has it."""
    tag = f"{IMAGES}:{content_digest()}"
    if tag not in run_kit("ctr", "images", "ls", "-q").split():
        say(f"building {tag}, since the code changed")
        run_kit("build", tag, str(ROOT))
    NEWEST.write_text(tag)
    return tag


@dataclass(frozen=True)
class Platform:
    """Slipway's manifests in a namespace of their own, with MLflow and S3 at work."""

    cluster: Cluster
    folder: Path
    """The kustomization that was applied."""
    mlflow: str
    """Address from here; in the cluster it is `mlflow_inside`."""
    s3: str
    credentials: dict[str, str]
    namespace: str

    @property
    def mlflow_inside(self) -> str:
        """Address of MLflow for pods."""
        return f"http://mlflow.{self.namespace}.svc.cluster.local:5000"

    def read(self, *arguments: str) -> Any:
        """What `kubectl get` knows of the namespace."""
        return self.cluster.read("--namespace", self.namespace, *arguments)

    def may(self, account: str, verb: str, resource: str, namespace: str = "") -> bool:
        """Whether a service account of the namespace is allowed something, there or in another one."""
        who = f"--as=system:serviceaccount:{self.namespace}:{account}"
        answer = self.cluster.kubectl(
            "auth", "can-i", verb, resource, who, "-n", namespace or self.namespace, check=False
        )
        assert answer.split()[0] in ("yes", "no"), answer
        return answer.startswith("yes")

    def kustomization(self, overlay: str, folder: Path, namespace: str) -> Path:
        """A folder to `kubectl apply -k`: an overlay for a namespace of this cluster."""
        return kustomization(self.cluster, folder, namespace, overlay)


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for this session alone; it is removed at the end, unless the cluster keeps what tests make."""
    for name in itertools.chain(["slipway-test"], (f"slipway-test-{number}" for number in itertools.count(2))):
        with ExitStack() as own:
            try:
                own.enter_context(held(name, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                continue
            yield name
            if not cluster.keep:
                cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
                shutil.rmtree(SCRATCH / name, ignore_errors=True)
            return


@pytest.fixture(scope="session")
def platform(
    cluster: Cluster, namespace: str, say: Say, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """The overlay `kind` in a namespace of this session, with the image under test."""
    folder = kustomization(cluster, tmp_path_factory.mktemp("kustomize", numbered=False), namespace)
    credentials = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": hashlib.sha256(f"{os.getuid()} {Path.home()}".encode()).hexdigest(),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    say(f"applying the manifests to the namespace {namespace}")
    cluster.kubectl("apply", "-k", str(folder))
    for leftover in ("pytorchjobs.kubeflow.org", "inferenceservices.serving.kserve.io"):
        cluster.kubectl("delete", leftover, "--all", "--wait=false", "-n", namespace)
    if not cluster.storage:
        make_volumes(cluster, namespace)
    cluster.apply(s3_secret(credentials, namespace))
    for name in ("s3", "mlflow"):
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=300s")
    with forwarded(cluster, namespace, "mlflow", 5000) as mlflow, forwarded(cluster, namespace, "s3", 9000) as s3:
        say("MLflow and S3 are at work")
        yield Platform(cluster, folder, mlflow, s3, credentials, namespace)


@pytest.fixture
def store(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own in the S3 of the manifests; endpoint and credentials are in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", platform.s3)
    for name, value in platform.credentials.items():
        monkeypatch.setenv(name, value)
    return f"s3://slipway/{uuid.uuid4().hex[:12]}"


def kustomization(cluster: Cluster, folder: Path, namespace: str, overlay: str = "kind") -> Path:
    """A folder to `kubectl apply -k`: an overlay with other names for the namespace and the images."""
    name, _, tag = cluster.image.rpartition(":")
    s3_name, _, s3_tag = cluster.s3_image.rpartition(":")
    content = {
        "resources": [os.path.relpath(ROOT / "manifests" / "overlays" / overlay, folder)],
        "namespace": namespace,
        "images": [
            {"name": "slipway/slipway-python", "newName": name, "newTag": tag},
            {"name": "versity/versitygw", "newName": s3_name, "newTag": s3_tag},
        ],
        "patches": [
            {
                "target": {"kind": "ServingRuntime"},
                "patch": json.dumps([{"op": "replace", "path": "/spec/containers/0/image", "value": cluster.image}]),
            }
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content), "utf-8")
    return folder


def s3_secret(credentials: dict[str, str], namespace: str) -> dict[str, Any]:
    """The secret that manifests/install.sh makes."""
    host = f"s3.{namespace}.svc.cluster.local:9000"
    annotations = {"s3-endpoint": host, "s3-usehttps": "0", "s3-region": "us-east-1"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "slipway-s3",
            "namespace": namespace,
            "annotations": {f"serving.kserve.io/{key}": value for key, value in annotations.items()},
        },
        "stringData": credentials | {"AWS_ENDPOINT_URL": f"http://{host}"},
    }


def make_volumes(cluster: Cluster, namespace: str) -> None:
    """Volumes for the claims, on the kit's node, which has this machine's disk."""
    for claim in cluster.read("pvc", "--namespace", namespace)["items"]:
        name = claim["metadata"]["name"]
        if claim["status"]["phase"] == "Bound":
            continue
        folder = SCRATCH / namespace / name
        shutil.rmtree(folder, ignore_errors=True)  # of a cluster that is gone
        folder.mkdir(parents=True)
        folder.chmod(0o777)  # pods are another user
        cluster.kubectl("delete", "pv", f"{namespace}-{name}", "--ignore-not-found")
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{namespace}-{name}"},
                "spec": {
                    "capacity": claim["spec"]["resources"]["requests"],
                    "accessModes": claim["spec"]["accessModes"],
                    "claimRef": {"namespace": namespace, "name": name},
                    "hostPath": {"path": str(folder)},
                },
            }
        )


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
