"""What the API server itself refuses to the account of the steps, and what it admits: manifests/base/admission."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.pipelines.cluster_preflight import check_admitted
from tests.background import eventually
from tests.cluster.step_account import IMAGE, Steps, changed, lease, service, signer, trainer

pytestmark = pytest.mark.cluster


def test_what_the_steps_do_is_admitted(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_RUN_ID", "5f2c7d0e-8a41-4c1b-9a55-2f0d3f1f7a10")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    for settings in ({}, {"elastic": True}, {"queue": "team"}):
        assert steps.create(trainer(steps, **settings)) == ""
    assert steps.apply(service(steps)) == ""
    assert steps.apply(service(steps, "Standard")) == ""
    assert steps.create(lease(steps)) == ""
    assert steps.create(signer(steps)) == ""


def test_what_the_steps_made_they_may_change_and_remove(steps: Steps) -> None:
    for made in (trainer(steps), signer(steps)):
        made["spec"] |= {"suspend": True} if made["kind"] == "Job" else {}
        if made["kind"] == "PyTorchJob":
            made["spec"]["runPolicy"]["suspend"] = True
        assert steps.create(made, kept=True) == ""
        assert steps.remove(made, kept=True) == ""
    assert steps.apply(service(steps), kept=True) == ""
    assert (
        steps.apply(changed(service(steps), lambda it: it["spec"]["predictor"].update(canaryTrafficPercent=50))) == ""
    )
    assert steps.remove(service(steps), kept=True) == ""


def pod(job: dict[str, Any]) -> Any:
    """The pod of a PyTorchJob's master."""
    return job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]


def container(job: dict[str, Any]) -> Any:
    """Its container."""
    return pod(job)["spec"]["containers"][0]


ATTACKS_BY_TRAINERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "without labels": (lambda job: job["metadata"].pop("labels"), "of Slipway alone"),
    "never removed": (lambda job: job["metadata"].update(finalizers=["example.com/x"]), "no finalizers"),
    "takes MLflow's place": (
        lambda job: pod(job)["metadata"].update(labels={"app.kubernetes.io/name": "mlflow"}),
        "carry the labels of a trainer",
    ),
    "a model server's label": (
        lambda job: pod(job)["metadata"]["labels"].update({"serving.kserve.io/inferenceservice": "messages"}),
        "carry the labels of a trainer",
    ),
    "host's network": (lambda job: pod(job)["spec"].update(hostNetwork=True), "do not set hostNetwork"),
    "host's processes": (lambda job: pod(job)["spec"].update(hostPID=True), "do not set hostPID"),
    "a chosen node": (lambda job: pod(job)["spec"].update(nodeName="control-plane"), "do not set nodeName"),
    "another container": (
        lambda job: pod(job)["spec"]["containers"].append({"name": "x", "image": IMAGE}),
        "have one container",
    ),
    "an init container": (
        lambda job: pod(job)["spec"].update(initContainers=[{"name": "x", "image": IMAGE}]),
        "do not set initContainers",
    ),
    "the server's account": (
        lambda job: pod(job)["spec"].update(serviceAccountName="slipway-signer"),
        "run as the service account slipway-trainer",
    ),
    "the old field of the account": (
        lambda job: pod(job)["spec"].update(serviceAccount="slipway-signer"),
        "do not set serviceAccount",
    ),
    "the account's token": (
        lambda job: pod(job)["spec"].update(automountServiceAccountToken=True),
        "without its token",
    ),
    "as root": (lambda job: pod(job)["spec"].update(securityContext={"runAsUser": 0}), "have the securityContext"),
    "privileged": (lambda job: container(job)["securityContext"].update(privileged=True), "have the securityContext"),
    "host's files": (
        lambda job: pod(job)["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "of the kind emptyDir",
    ),
    "mounts the signing key": (
        lambda job: pod(job)["spec"]["volumes"].append({"name": "x", "secret": {"secretName": "slipway-signing"}}),
        "of the kind emptyDir",
    ),
    "mounts another's claim": (
        lambda job: pod(job)["spec"]["volumes"].append({"name": "x", "persistentVolumeClaim": {"claimName": "mlflow"}}),
        "of the kind emptyDir",
    ),
    "reads the signing key": (
        lambda job: container(job)["envFrom"].append({"secretRef": {"name": "slipway-signing"}}),
        "from the Secrets slipway-s3-trainers, slipway-hub alone",
    ),
    "reads a key of the signing key": (
        lambda job: container(job)["env"].append(
            {
                "name": "SLIPWAY_X",
                "valueFrom": {"secretKeyRef": {"name": "slipway-signing", "key": "private.pem"}},
            }
        ),
        "are plain values",
    ),
    "loads a library": (
        lambda job: container(job)["env"].append({"name": "LD_PRELOAD", "value": "/workspace/x.so"}),
        "are plain values",
    ),
    "another image": (lambda job: container(job).update(image="example.com/miner:1"), "admits slipway/slipway-python"),
    "another command": (lambda job: container(job).update(command=["sh", "-c", "id"]), "the command of"),
    "arguments": (lambda job: container(job).update(args=["x"]), "does not set args"),
    "a hook": (
        lambda job: container(job).update(lifecycle={"postStart": {"exec": {"command": ["sh"]}}}),
        "does not set lifecycle",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS_BY_TRAINERS)
def test_a_step_starts_no_other_pytorchjob_than_a_trainer(steps: Steps, attack: str) -> None:
    change, words = ATTACKS_BY_TRAINERS[attack]
    said = steps.create(changed(trainer(steps), change))
    assert "slipway-training" in said
    assert words in said


def predictor(service: dict[str, Any]) -> Any:
    """The first model server of an InferenceService."""
    return service["spec"]["predictor"]


def of_canary(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same change, of the canary of Standard mode."""
    return lambda service: change({"spec": {"predictor": service["spec"]["canary"][0]["predictor"]}})


ATTACKS_BY_SERVERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "without label": (lambda it: it["metadata"].pop("labels"), "of Slipway alone"),
    "other labels": (
        lambda it: it["metadata"]["labels"].update({"networking.kserve.io/visibility": "x"}),
        "and no others",
    ),
    "other annotations": (
        lambda it: it["metadata"]["annotations"].update({"serving.kserve.io/enable-auth": "false"}),
        "and no others",
    ),
    "takes MLflow's place": (
        lambda it: predictor(it)["labels"].update({"app.kubernetes.io/name": "mlflow"}),
        "labels and annotations of slipway.dev/ alone",
    ),
    "a container of its own": (
        lambda it: predictor(it).update(containers=[{"name": "kserve-container", "image": "example.com/miner:1"}]),
        "does not set containers",
    ),
    "another image": (
        lambda it: predictor(it)["model"].update(image="example.com/miner:1"),
        "does not set image",
    ),
    "another command": (lambda it: predictor(it)["model"].update(command=["sh"]), "does not set command"),
    "a variable": (
        lambda it: predictor(it)["model"].update(env=[{"name": "LD_PRELOAD", "value": "x"}]),
        "does not set env",
    ),
    "mounts the signing key": (
        lambda it: predictor(it).update(volumes=[{"name": "x", "secret": {"secretName": "slipway-signing"}}]),
        "does not set volumes",
    ),
    "host's network": (lambda it: predictor(it).update(hostNetwork=True), "does not set hostNetwork"),
    "a transformer": (
        lambda it: it["spec"].update(transformer={"containers": [{"name": "x", "image": "example.com/x:1"}]}),
        "does not set transformer",
    ),
    "another account": (
        lambda it: predictor(it).update(serviceAccountName="slipway-signer"),
        "run as the service account slipway-server",
    ),
    "another runtime": (lambda it: predictor(it)["model"].update(runtime="kserve-sklearnserver"), "has the runtime"),
    "another store": (
        lambda it: predictor(it)["model"].update(storageUri="s3://others/model"),
        "admits what begins with s3://slipway/",
    ),
    "a claim as store": (lambda it: predictor(it)["model"].update(storageUri="pvc://mlflow/x"), "what begins with"),
    "out of the store": (
        lambda it: predictor(it)["model"].update(storageUri="s3://slipway/../others/model"),
        "what begins with",
    ),
    "without a digest": (lambda it: predictor(it)["model"].update(args=["--model_version=1"]), "the digest always"),
    "trusts another key": (
        lambda it: predictor(it)["model"]["args"].append("--public_key=/mnt/models"),
        "--model_version=NUMBER",
    ),
    "open metrics": (lambda it: predictor(it)["model"]["args"].append("--open_metrics"), "--model_version=NUMBER"),
    "more than the runtime gives": (
        lambda it: predictor(it)["model"].update(resources={"limits": {"cpu": "64"}}),
        "the runtime says",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS_BY_SERVERS)
def test_a_step_serves_nothing_but_signed_bundles_of_the_store(steps: Steps, attack: str) -> None:
    change, words = ATTACKS_BY_SERVERS[attack]
    said = steps.apply(changed(service(steps), change))
    assert "slipway-serving" in said
    assert words in said


@pytest.mark.parametrize("attack", ["another image", "mounts the signing key", "another store", "trusts another key"])
def test_a_canary_of_standard_mode_is_looked_at_like_the_predictor(steps: Steps, attack: str) -> None:
    change, words = ATTACKS_BY_SERVERS[attack]
    assert words in steps.apply(changed(service(steps, "Standard"), of_canary(change)))


def test_a_step_neither_takes_over_nor_removes_what_others_made(steps: Steps) -> None:
    others = changed(service(steps), lambda it: it["metadata"].update(name="others", labels={}))
    job = changed(trainer(steps), lambda it: it["metadata"].update(name="others", labels={}))
    job["spec"]["runPolicy"]["suspend"] = True
    assert steps.create(others, kept=True, owner=True) == steps.create(job, kept=True, owner=True) == ""

    mine = changed(service(steps), lambda it: it["metadata"].update(name="others"))
    assert "of Slipway alone" in steps.apply(mine)
    assert "of Slipway alone" in steps.remove(others, kept=True)
    assert "of Slipway alone" in steps.remove(job, kept=True)
    assert steps.remove(others, kept=True, owner=True) == steps.remove(job, kept=True, owner=True) == ""


def test_the_fields_that_an_administrator_set_stay_and_hinder_no_step(steps: Steps) -> None:
    assert steps.apply(service(steps), kept=True) == ""
    theirs = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "messages", "labels": {"team": "x"}, "annotations": {"example.com/who": "us"}},
    }
    arguments = ("apply", "--server-side", "--namespace", steps.namespace, "-f", "-")
    steps.cluster.kubectl(*arguments, given=json.dumps(theirs))

    assert steps.apply(changed(service(steps), lambda it: predictor(it).update(canaryTrafficPercent=50))) == ""
    stolen = changed(service(steps), lambda it: it["metadata"]["labels"].update(team="y"))
    assert "and no others" in steps.apply(stolen)
    assert steps.remove(service(steps), kept=True) == ""


def test_without_the_object_that_says_what_is_usual_nothing_is_admitted(steps: Steps) -> None:
    arguments = ("--namespace", steps.namespace)
    kept = steps.cluster.kubectl("get", "configmap", "slipway-serving", "--output=json", *arguments)
    steps.cluster.kubectl("delete", "configmap", "slipway-serving", *arguments)
    try:
        for _ in range(600):  # the API server hears of it a moment later
            if said := steps.apply(service(steps)):
                break
        assert "no params found" in said
    finally:
        given = json.loads(kept)
        steps.cluster.apply(
            {key: given[key] for key in ("apiVersion", "kind", "data")}
            | {"metadata": {"name": "slipway-serving", "namespace": steps.namespace}}
        )


def test_a_run_is_told_before_its_first_step_that_it_would_be_refused(steps: Steps, tmp_path: Path) -> None:
    account = steps.cluster.as_account("slipway-pipeline", steps.namespace, tmp_path)
    custom = client.CustomObjectsApi(config.new_client_from_config(account))
    settings = ClusterSettings(namespace=steps.namespace, image=IMAGE)
    check_admitted(custom, settings, steps.namespace, "s3://slipway/b")
    strange = settings.model_copy(update={"image": "example.com/own:1"})
    with pytest.raises(BadInput, match="the image .* is example.com/own:1; the PodTemplate slipway-trainer admits"):
        check_admitted(custom, strange, steps.namespace, "s3://slipway/b")
    assert steps.cluster.read("pytorchjobs.kubeflow.org", "--namespace", steps.namespace)["items"] == []

    with pytest.raises(
        BadInput, match="not let us serve .* serves s3://mine/b/preflight; .* begins with s3://slipway/"
    ):
        check_admitted(custom, settings, steps.namespace, "s3://mine/b")

    own = {"name": "own", "image": "example.com/own:1", "envFrom": [{"secretRef": {"name": "own"}}]}
    patch = json.dumps({"template": {"spec": {"containers": [own]}}})
    place = ("--namespace", steps.namespace, f"--patch={patch}")
    steps.cluster.kubectl("patch", "podtemplate", "slipway-trainer", *place)  # puts it before the trainer's
    eventually(lambda: "own" in steps.create(trainer(steps, image="x")))
    check_admitted(custom, strange.model_copy(update={"secret": "own"}), steps.namespace, "")
    check_admitted(custom, settings, steps.namespace, "")
