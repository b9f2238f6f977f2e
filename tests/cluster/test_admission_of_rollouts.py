"""What the API server refuses to steps of locks, questions to pods, and signing: manifests/base/admission."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import SIGNATURE
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.register.signing_job import SigningJob
from tests.background import eventually
from tests.cluster.step_account import PATHS, Steps, changed, lease, signer

pytestmark = pytest.mark.cluster

ATTACKS_ON_LOCKS: dict[str, tuple[dict[str, Any], str]] = {
    "other leases": ({"name": "kube-scheduler"}, "the Leases of rollouts alone"),
    "an older number": ({"transitions": 6, "holder": "y"}, "has a higher leaseTransitions"),
    "the same number for another": ({"transitions": 7, "holder": "y"}, "has a higher leaseTransitions"),
}


@pytest.mark.parametrize("attack", ATTACKS_ON_LOCKS)
def test_a_step_takes_no_lock_but_a_rollout_s_and_counts_on(steps: Steps, attack: str) -> None:
    what, words = ATTACKS_ON_LOCKS[attack]
    if "name" in what:
        assert words in steps.create(lease(steps, **what))
        return
    name = f"{uuid.uuid4().hex[:6]}-rollout"
    assert steps.create(lease(steps, 7, "x", name), kept=True) == ""
    found = steps.cluster.read("lease", name, "--namespace", steps.namespace)["metadata"]["resourceVersion"]

    def replace(transitions: int, holder: str) -> str:
        wanted = lease(steps, transitions, holder, name)
        wanted["metadata"]["resourceVersion"] = found
        return steps.ask("PUT", f"{PATHS['Lease']}/{name}", wanted)

    assert words in replace(what["transitions"], what["holder"])
    for transitions, holder in ((7, "x"), (7, ""), (8, "y")):  # renewed, given back, taken by the next
        assert replace(transitions, holder) == ""


def test_no_lock_is_for_ever(steps: Steps) -> None:
    assert "60 seconds at most" in steps.create(
        changed(lease(steps), lambda it: it["spec"].update(leaseDurationSeconds=10**6))
    )


@pytest.mark.parametrize(
    ("pod", "path", "words"),
    [
        ("mlflow-7d9c8b7c6d-x2x4z:5000", "api/2.0/mlflow/experiments/search", "ask model servers alone"),
        ("messages-predictor-00001-deployment-6c5d-x:8012", "metrics", "at their ports 8080 and 8082"),
        ("messages-predictor-00001-deployment-6c5d-x:8080", "v2/repository/models/messages/unload", "alone; asked for"),
        ("messages-predictor-00001-deployment-6c5d-x:8080", "v2/models/../../metrics/infer", "alone; asked for"),
        ("https:mlflow-7d9c8b7c6d-x2x4z:8080", "metrics", "ask model servers alone"),
        ("https:messages-v1-predictor-6c5d-x:8443", "metrics", "at their ports 8080 and 8082"),
    ],
)
def test_a_step_asks_model_servers_alone_through_the_api_server(steps: Steps, pod: str, path: str, words: str) -> None:
    for verb in ("GET", "POST"):
        said = steps.ask(verb, f"/api/v1/namespaces/{{namespace}}/pods/{pod}/proxy/{path}", kept=True)
        assert words in said, said


@pytest.mark.parametrize("port", [8080, 8082])
def test_a_step_s_questions_to_model_servers_are_admitted(steps: Steps, port: int) -> None:
    for path in ("metrics", "v2/models/messages/ready", "v2/models/messages/infer"):
        for name in ("messages-predictor-00001-deployment-6c5d-x", "https:messages-v3-predictor-6c5d-x"):
            said = steps.ask("GET", f"/api/v1/namespaces/{{namespace}}/pods/{name}:{port}/proxy/{path}", kept=True)
            assert "not found" in said, said


ATTACKS_BY_SIGNERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another label": (
        lambda job: job["metadata"].update(labels={"app.kubernetes.io/component": "x"}),
        "Jobs of the signer alone",
    ),
    "another command": (
        lambda job: job["spec"]["template"]["spec"]["containers"][0].update(command=["cat", "/etc/slipway/signing/x"]),
        "exactly that of the CronJob",
    ),
    "arguments": (
        lambda job: job["spec"]["template"]["spec"]["containers"][0].update(args=["x"]),
        "exactly that of the CronJob",
    ),
    "another image": (
        lambda job: job["spec"]["template"]["spec"]["containers"][0].update(image="example.com/x:1"),
        "exactly that of the CronJob",
    ),
    "a variable": (
        lambda job: job["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "PYTHONPATH", "value": "/x"}
        ),
        "exactly that of the CronJob",
    ),
    "another account": (
        lambda job: job["spec"]["template"]["spec"].update(serviceAccountName="slipway-server"),
        "exactly that of the CronJob",
    ),
    "many": (lambda job: job["spec"].update(parallelism=100, completions=100), "runs once"),
    "for ever": (lambda job: job["spec"].pop("activeDeadlineSeconds"), "runs once"),
    "a trainer's label": (
        lambda job: job["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/component": "trainer"}),
        "has the labels",
    ),
    "a service's label": (
        lambda job: job["spec"]["template"]["metadata"]["labels"].update({"serving.kserve.io/inferenceservice": "x"}),
        "has the labels",
    ),
    "another annotation": (
        lambda job: job["spec"]["template"]["metadata"]["annotations"].update({"sidecar.istio.io/inject": "true"}),
        "has one annotation",
    ),
    "no digests": (
        lambda job: job["spec"]["template"]["metadata"].update(annotations={"slipway.dev/files": '{"x":"y"}'}),
        "has one annotation",
    ),
    "another folder": (
        lambda job: job["spec"]["template"]["metadata"].update(
            annotations={"slipway.dev/files": f'{{"../x":"{"a" * 64}"}}'}
        ),
        "has one annotation",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS_BY_SIGNERS)
def test_a_step_makes_no_job_but_the_signer_s_so_that_no_pod_of_its_own_has_the_key(steps: Steps, attack: str) -> None:
    change, words = ATTACKS_BY_SIGNERS[attack]
    said = steps.create(changed(signer(steps), change))
    assert "slipway-signing" in said
    assert words in said


SAYS_WHAT_IT_GOT = 'printf "slipway-signature %s\\n" "$(printf %s "$SLIPWAY_FILES" | base64 -w 0)"'


@pytest.fixture
def as_step(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the cluster with the rights of the steps."""
    monkeypatch.setenv("KUBECONFIG", steps.cluster.as_account("slipway-pipeline", steps.namespace, tmp_path))


def make_signer(steps: Steps, command: str) -> None:
    """Let the CronJob run a shell, and give it a key."""
    steps.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "slipway-signing", "namespace": steps.namespace},
            "stringData": {"private.pem": "the key"},
        }
    )
    container = {"name": "signer", "image": steps.cluster.busybox, "command": ["sh", "-c", command]}
    patch = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [container]}}}}}}
    where = ("--namespace", steps.namespace, "--type=strategic", f"--patch={json.dumps(patch)}")
    steps.cluster.kubectl("patch", "cronjob", "slipway-signer", *where)


@pytest.mark.usefixtures("as_step")
def test_a_step_without_the_key_has_a_bundle_signed_and_leaves_no_job(steps: Steps, tmp_path: Path) -> None:
    make_signer(steps, f"cat /etc/slipway/signing/private.pem >/dev/null && {SAYS_WHAT_IT_GOT}")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("model.onnx", "bundle.json", "model-card.md"):
        (bundle / name).write_text(name)
    eventually(lambda: _signs(steps, bundle))  # the policy hears of the changed CronJob a moment later
    digests = signing.digests_of({name: name.encode() for name in ("model.onnx", "bundle.json", "model-card.md")})
    assert json.loads((bundle / SIGNATURE).read_text()) == digests
    eventually(lambda: not steps.cluster.read("jobs", "--namespace", steps.namespace)["items"])


def _signs(steps: Steps, bundle: Path) -> bool:
    try:
        SigningJob(steps.namespace).sign(bundle)
    except BadInput as error:
        if "exactly that of the CronJob" not in str(error):
            raise
        return False
    return True


@pytest.mark.usefixtures("as_step")
def test_a_step_cannot_read_the_key_and_is_told_why_nothing_was_signed(steps: Steps, tmp_path: Path) -> None:
    assert "secrets" in steps.ask("GET", "/api/v1/namespaces/{namespace}/secrets/slipway-signing")
    make_signer(steps, "echo no P-256 key; exit 1")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.onnx").write_text("x")

    def told() -> bool:
        with pytest.raises(SlipwayError, match="signed nothing: no P-256 key|exactly that of the CronJob") as said:
            SigningJob(steps.namespace).sign(tmp_path / "bundle")
        return "signed nothing" in str(said.value)

    eventually(told)
    assert not (tmp_path / "bundle" / SIGNATURE).exists()
