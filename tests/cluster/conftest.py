"""A real cluster for the tests: that of KUBECONFIG, or one that the test kit beside the repository starts.

KUBECONFIG           the operators of `manifests/install.sh` are there; SLIPWAY_IMAGE names an image that nodes have,
                     and SLIPWAY_SERVING_IMAGE that of model servers (empty for the same)
../shared/cluster    the kit; the images are built here, again when a file changed, unless SLIPWAY_IMAGE names one.
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
import secrets
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import kit, workflows
from tests.cluster.access import SCRATCH, Cluster, Say, forwarded, held
from tests.cluster.jobs import Jobs
from tests.cluster.step_account import KINDS, Steps, wait_for_policies


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Tells the person at the terminal what takes long."""
    plugins = request.config.pluginmanager
    reporter, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")
    began = time.monotonic()

    def write(words: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(f"cluster tests, {time.monotonic() - began:3.0f} s: {words}")

    return write


@pytest.fixture(scope="session")
def cluster(say: Say) -> Iterator[Cluster]:
    """The cluster of KUBECONFIG, else the kit's, else the test is skipped."""
    image, serving_image = os.environ.get("SLIPWAY_IMAGE"), os.environ.get("SLIPWAY_SERVING_IMAGE")
    if given := os.environ.get("KUBECONFIG"):
        if not image:
            pytest.skip("KUBECONFIG is set: set SLIPWAY_IMAGE to an image of Slipway that the cluster's nodes have")
        s3_image = os.environ.get("S3_IMAGE", "versity/versitygw:v1.8.0")
        busybox = os.environ.get("BUSYBOX_IMAGE", "busybox:1")
        yield Cluster(given, image, serving_image or image, s3_image, storage=True, keep=False, busybox=busybox)
        return
    if not kit.KIT.exists():
        pytest.skip("no cluster: set KUBECONFIG and SLIPWAY_IMAGE to test against one")
    if os.geteuid():
        pytest.skip("the test kit starts a cluster only as root; set KUBECONFIG to test against another one")
    with ExitStack() as use:
        use.enter_context(held("used", fcntl.LOCK_SH))
        try:
            with held("starting"):
                kubeconfig, keep = kit.start(say)
            if not image:
                with held("building"):
                    image, serving_image = kit.images(say)
            say(f"the cluster is up; the image is {image}")
            yield Cluster(
                kubeconfig, image, serving_image or image, kit.S3_IMAGE, storage=False, keep=keep, busybox=kit.BUSYBOX
            )
        finally:
            with held("starting"):
                use.close()
                with suppress(BlockingIOError), held("used", fcntl.LOCK_EX | fcntl.LOCK_NB):
                    kit.leave(say)


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
    def environment(self) -> dict[str, str]:
        """What a program here needs to use the S3 server."""
        return self.credentials | {"AWS_ENDPOINT_URL": self.s3}

    @property
    def mlflow_inside(self) -> str:
        """Address of MLflow for pods."""
        return f"http://mlflow.{self.namespace}.svc.cluster.local:5000"

    def new_store(self) -> str:
        """A place in the S3 server that nothing else uses."""
        return f"s3://slipway/{uuid.uuid4().hex[:12]}"

    def read(self, *arguments: str) -> Any:
        """What `kubectl get` knows of the namespace."""
        return self.cluster.read("--namespace", self.namespace, *arguments)

    def may(self, account: str, verb: str, resource: str, namespace: str = "") -> bool:
        """Whether a service account of the namespace is allowed something, there or in another one."""
        who = f"--as=system:serviceaccount:{self.namespace}:{account}"
        kind, _, part = resource.partition("/")
        asked = (kind, f"--subresource={part}") if kind == "pods" and part else (resource,)  # else NAME of one object
        answer = self.cluster.kubectl(
            "auth", "can-i", verb, *asked, who, "-n", namespace or self.namespace, check=False
        )
        assert answer.split()[0] in ("yes", "no"), answer
        return answer.startswith("yes")

    def kustomization(self, overlay: str, folder: Path, namespace: str) -> Path:
        """A folder to `kubectl apply -k`: an overlay for a namespace of this cluster."""
        return kustomization(self.cluster, folder, namespace, overlay)


@pytest.fixture
def own_namespace(cluster: Cluster) -> Iterator[str]:
    """An empty namespace for one test alone."""
    name = f"slipway-own-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for this session alone: a new one that is removed at the end, or one that is kept and used again."""
    if not cluster.keep:
        name = f"slipway-test-{uuid.uuid4().hex[:6]}"
        yield name
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
        shutil.rmtree(SCRATCH / name, ignore_errors=True)
        return
    for number in itertools.count(1):
        name = f"slipway-test-{number}"
        with suppress(BlockingIOError), ExitStack() as own:
            own.enter_context(held(name, fcntl.LOCK_EX | fcntl.LOCK_NB))
            yield name
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
    # an earlier session may have told the policies of images that its trainings had besides
    cluster.kubectl("delete", "podtemplate", "slipway-trainer", "--ignore-not-found", "--namespace", namespace)
    cluster.kubectl("apply", "-k", str(folder))
    clear(cluster, namespace)  # a session that was killed could not
    if not cluster.storage:
        kit.make_volumes(cluster, namespace)
    cluster.apply(*store_secrets(credentials, namespace), mlflow_secret(namespace), audit_secret(namespace))
    for name in ("s3", "mlflow"):
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=300s")
    with (
        forwarded(cluster, namespace, "mlflow", 5000) as mlflow,
        forwarded(cluster, namespace, "s3", 9000) as s3,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in login("").items():
            environment.setenv(name, value)
        say("MLflow and S3 are at work")
        yield Platform(cluster, folder, mlflow, s3, credentials, namespace)
    clear(cluster, namespace)


@pytest.fixture(scope="session")
def gateway(platform: Platform) -> Iterator[str]:
    """Address of the ingress gateway from here."""
    if given := os.environ.get("SLIPWAY_GATEWAY"):
        yield given
        return
    service = platform.cluster.read("service", "kourier", "--namespace", "kourier-system")
    inside = f"http://{service['spec']['clusterIP']}"
    if not platform.cluster.storage:  # the kit's cluster: this machine reaches its services
        yield inside
        return
    with forwarded(platform.cluster, "kourier-system", "kourier", 80) as address:
        yield address


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    """Makes PyTorchJobs that sleep in a namespace of their own; KUBECONFIG has the rights of the pipeline's account."""
    namespace = f"slipway-jobs-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    try:
        for account in ("slipway-pipeline", "slipway-trainer"):
            cluster.kubectl("create", "serviceaccount", account, "--namespace", namespace)
        cluster.kubectl("apply", "--namespace", namespace, "-f", str(kit.ROOT / "manifests" / "base" / "rbac.yaml"))
        with pytest.MonkeyPatch.context() as environment:
            rights = cluster.as_account("slipway-pipeline", namespace, tmp_path_factory.mktemp("rights"))
            environment.setenv("KUBECONFIG", rights)
            environment.delenv("SLIPWAY_RUN_ID", raising=False)
            yield Jobs(cluster, namespace)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="session")
def steps(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    """The account of the steps in a namespace with what the manifests make of rights."""
    namespace = f"slipway-admission-{uuid.uuid4().hex[:6]}"
    folder = tmp_path_factory.mktemp("admission")
    resource = kit.ROOT / "manifests" / "overlays" / "kind"
    content = {"resources": [os.path.relpath(resource, folder)], "namespace": namespace}
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    made = yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)))
    try:
        cluster.apply(*(item for item in made if item["kind"] in KINDS))
        account = cluster.as_account("slipway-pipeline", namespace, folder)
        asked = Steps(cluster, namespace, account)
        wait_for_policies(asked)
        yield asked
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def workflow_kind(cluster: Cluster) -> Iterator[None]:
    """The kind Workflow, also on a cluster without Argo."""
    with held("workflow-kind"):
        made = not cluster.kubectl("get", "crd", "workflows.argoproj.io", "--ignore-not-found")
        if made:
            cluster.apply(workflows.WORKFLOW_KIND)
        cluster.kubectl("wait", "crd/workflows.argoproj.io", "--for=condition=Established", "--timeout=60s")
        yield
        if made:
            cluster.kubectl("delete", "crd", "workflows.argoproj.io")


def clear(cluster: Cluster, namespace: str) -> None:
    """End what tests started: it would go on in a namespace that is kept."""
    for kind in ("pytorchjobs.kubeflow.org", "inferenceservices.serving.kserve.io"):
        cluster.kubectl("delete", kind, "--all", "--wait=false", "--namespace", namespace)


@pytest.fixture
def store(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own in the S3 of the manifests; endpoint and credentials are in the environment."""
    for name, value in platform.environment.items():
        monkeypatch.setenv(name, value)
    return platform.new_store()


def kustomization(cluster: Cluster, folder: Path, namespace: str, overlay: str = "kind") -> Path:
    """A folder to `kubectl apply -k`: an overlay with other names for the namespace and the images."""
    images = {
        "slipway/slipway-python": cluster.image,
        "slipway/slipway-serving": cluster.serving_image,
        "versity/versitygw": cluster.s3_image,
    }
    changed = {name: image.rpartition(":") for name, image in images.items()}
    content = {
        "resources": [os.path.relpath(kit.ROOT / "manifests" / "overlays" / overlay, folder)],
        "namespace": namespace,
        "images": [{"name": name, "newName": new, "newTag": tag} for name, (new, _, tag) in changed.items()],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content), "utf-8")
    return folder


LOGINS = {"": "slipway-steps", "-trainers": "slipway-trainers"}


def login(role: str) -> dict[str, str]:
    """What a role shows MLflow."""
    if role not in LOGINS:
        return {}
    return {"MLFLOW_TRACKING_USERNAME": LOGINS[role], "MLFLOW_TRACKING_PASSWORD": f"password-of-the-tests{role}"}


def mlflow_secret(namespace: str) -> dict[str, Any]:
    """The secret of the MLflow server that manifests/install.sh makes."""
    values = dict.fromkeys(("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"), "of-the-tests-alone")
    metadata = {"name": "slipway-mlflow", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def store_secrets(credentials: dict[str, str], namespace: str) -> list[dict[str, Any]]:
    """The secrets of the store that manifests/install.sh makes: of steps, for whom the credentials are, and others."""
    host = f"s3.{namespace}.svc.cluster.local:9000"
    annotations = {"s3-endpoint": host, "s3-usehttps": "0", "s3-region": "us-east-1"}
    made = []
    for role in ("", "-root", "-trainers", "-servers"):
        own = {"AWS_ACCESS_KEY_ID": credentials["AWS_ACCESS_KEY_ID"] + role}
        own["AWS_SECRET_ACCESS_KEY"] = hashlib.sha256(
            f"{credentials['AWS_SECRET_ACCESS_KEY']}{role}".encode()
        ).hexdigest()
        metadata = {
            "name": f"slipway-s3{role}",
            "namespace": namespace,
            "annotations": {f"serving.kserve.io/{key}": value for key, value in annotations.items()},
        }
        values = credentials | (own if role else {}) | {"AWS_ENDPOINT_URL_S3": f"http://{host}"} | login(role)
        made.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})
    return made


def audit_secret(namespace: str) -> dict[str, Any]:
    """The key of the model servers' audit log, as manifests/install.sh makes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "slipway-audit", "namespace": namespace},
        "stringData": {"audit.key": secrets.token_urlsafe(32)},
    }
