"""The test kit beside the repository: a cluster with the operators, and the image of the code at hand."""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.cluster.access import SCRATCH, Cluster, Say

ROOT = Path(__file__).parents[2]
KIT = ROOT.parent / "shared" / "cluster" / "cluster"
IN_IMAGE = ("Dockerfile", ".dockerignore", "docker", "components", "pipelines", "serving", "slipway")
LOCKS = ("requirements.lock", "requirements-cuda.lock", "requirements-serving.lock")
ADDONS = ("training-operator", "kserve", "s3", "kueue")
"""Kueue last: it knows at once the kinds that are there when it starts, others after minutes."""

IMAGES = "dev.local/slipway-test"
SERVING_IMAGES = "dev.local/slipway-serving-test"
S3_IMAGE = "dev.local/versitygw:1"
BUSYBOX = "dev.local/busybox:1"
STARTED = SCRATCH / "started-by-tests"
"""Is there while the kit's cluster is one that a test session started."""

NEWEST = SCRATCH / "newest-image"
ATTEMPTS, PAUSE_S = 6, 60
"""To build an image, which takes 8 GB for a while."""


def run_kit(*arguments: str) -> str:
    """The output of the kit's command."""
    done = subprocess.run([str(KIT), *arguments], text=True, capture_output=True)
    assert done.returncode == 0, f"{KIT} {' '.join(arguments)}: {done.stderr[-3000:]}"
    return done.stdout + done.stderr


def start(say: Say) -> tuple[str, bool]:
    """The kit's cluster with the operators: its kubeconfig, and whether it stays up; nothing is done twice."""
    if subprocess.run([str(KIT), "ctr", "version"], capture_output=True).returncode:
        STARTED.touch()
        say("starting the test kit's cluster with its operators; the first time takes minutes")
        subprocess.run([str(KIT), "down", "--keep-images"], capture_output=True)  # what a killed one left
    found = re.search(r"KUBECONFIG=(\S+)", run_kit("up"))
    assert found
    run_kit("install", *ADDONS)
    mend_waiting_for_the_master(found[1])
    return found[1], not STARTED.exists()


def leave(say: Say) -> None:
    """What the last session does: take down what a session started, and leave one image, since each takes gigabytes."""
    newest = NEWEST.read_text().split() if NEWEST.exists() else []
    images = subprocess.run([str(KIT), "ctr", "images", "ls", "-q"], capture_output=True, text=True)
    for tag in images.stdout.split():
        if tag.startswith((f"{IMAGES}:", f"{SERVING_IMAGES}:")) and tag not in newest:
            run_kit("ctr", "images", "rm", tag)
    if STARTED.exists():
        say("taking the test kit's cluster down")
        run_kit("down", "--keep-images")
        STARTED.unlink()


def images(say: Say) -> tuple[str, str]:
    """The tags of the images of steps and of model servers, built from the code at hand unless the node has them."""
    digest = content_digest()
    tags = (f"{IMAGES}:{digest}", f"{SERVING_IMAGES}:{digest}")
    there = run_kit("ctr", "images", "ls", "-q").split()
    for tag, target in zip(tags, ("", "serving"), strict=True):
        if tag not in there:
            say(f"building {tag}, since the code changed")
            build(tag, say, target)
    NEWEST.write_text("\n".join(tags))
    return tags


def build(tag: str, say: Say, target: str = "") -> None:
    """Build an image; where the disk is full, which others may use too, go on when there is room again.

    Args:
        target: a stage of the Dockerfile; empty for the last.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as stages:
        stages.write(up_to(target))
        stages.flush()
        for left in range(ATTEMPTS - 1, -1, -1):
            try:
                run_kit("build", tag, str(ROOT), stages.name)
                return
            except AssertionError as error:
                if "no space left on device" not in str(error).lower() or not left:
                    raise
                free = shutil.disk_usage("/var").free / 2**30
                say(f"the disk is full ({free:.1f} GiB are free); trying again in {PAUSE_S} s, {left} times more")
                for begun in re.findall(r"docker-archive:(/\S+?\.tar):", str(error)):
                    Path(begun).unlink(missing_ok=True)
                time.sleep(PAUSE_S)


def up_to(target: str) -> str:
    """The Dockerfile up to a stage, since the kit builds the last one; whole for an empty name."""
    whole = (ROOT / "Dockerfile").read_text("utf-8")
    if not target:
        return whole
    found = re.search(rf"\A.*?^FROM \S+ AS {target}\n.*?(?=^FROM )", whole, re.MULTILINE | re.DOTALL)
    assert found, f"the Dockerfile has no stage {target} before its last one"
    return found[0]


def content_digest() -> str:
    """Of everything that goes into the image."""
    whole = hashlib.sha256()
    for name in (*IN_IMAGE, *LOCKS):
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                whole.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return whole.hexdigest()[:12]


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
