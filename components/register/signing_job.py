"""Sign bundles by a Job in the cluster, so that no step has the private key.

The Job is made from the template of the CronJob slipway-signer of `manifests/`. It gets the digests of a bundle's files
in an annotation of its pod, and the signature is the last line of its log. The API server rejects a Job of a step that
differs from the CronJob's template (manifests/base/admission/signing.yaml).
"""

import base64
import binascii
import json
import secrets
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from kubernetes import client, watch

from slipway.components.artifacts import key_files, signing
from slipway.components.artifacts.bundle import SIGNATURE, contents_of
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.cluster_settings import PUBLIC_KEY, SECRETS, own_namespace
from slipway.components.platforms.container_image import SIGNING_JOB
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect
from slipway.components.platforms.pod_states import symptoms
from slipway.components.register.signer import ANSWER
from slipway.components.step_runtime import progress

SIGNER = "slipway-signer"
FILES = "slipway.dev/files"
"""Annotation of the pod; the variable `slipway.components.register.signer.FILES_VARIABLE` is set from it."""
LABELS = {"app.kubernetes.io/name": "slipway", "app.kubernetes.io/component": "signer"}
LIMIT_S = 300.0
"""How long a Job may take from its creation to its end, including the pull of its image."""
LOOK_S = 5
"""Longest time of one watch of its pods, in seconds."""


def signing_namespace(keys: str) -> str | None:
    """The namespace whose Jobs sign, from the setting `registry.keys`; None when that setting is a folder."""
    if not keys.startswith(SIGNING_JOB):
        return None
    return keys.removeprefix(SIGNING_JOB) or own_namespace() or "default"


def signer_of(keys: str, signing_key: str = "") -> signing.Signer:
    """The signer that the settings describe: a key pair in a folder, a key in KMS, or Jobs in the cluster.

    Args:
        keys: the setting `registry.keys`.
        signing_key: the setting `registry.signing_key`.

    Raises:
        BadInput: the folder's keys or the key in KMS cannot be used, model servers would not trust it, or there is no
            cluster.
    """
    namespace = signing_namespace(keys)
    if namespace is None:
        return signing.key_pair(Path(keys).expanduser(), signing_key)
    if not signing_key:
        return SigningJob(namespace)
    pair = signing.key_pair(Path(tempfile.mkdtemp(prefix="slipway-public-key-")), signing_key)
    public_key = pair.public_key.read_text("utf-8").strip()
    if public_key not in (key.strip() for key in SigningJob(namespace).public_keys.values()):
        raise BadInput(
            f"no public key in the ConfigMap {PUBLIC_KEY} of namespace {namespace} is that of {signing_key}, so model "
            f"servers would refuse what it signs; put what `slipway public-key` prints there, by {SECRETS}"
        )
    return pair


class SigningJob:
    """Signs by Jobs of one namespace.

    Args:
        namespace: that has the CronJob, the private key and the public key.
        limit_s: how long a Job may take, in seconds.

    Raises:
        BadInput: there is no cluster. Every method raises it when the cluster does not allow a request.
    """

    def __init__(self, namespace: str, limit_s: float = LIMIT_S) -> None:
        api = connect()
        self._namespace, self._limit_s = namespace, limit_s
        self._core, self._batch = client.CoreV1Api(api), client.BatchV1Api(api)

    @cached_property
    def public_key(self) -> Path:
        """The public key of the namespace, in a file."""
        if key_files.PUBLIC not in self.public_keys:
            raise BadInput(f"the ConfigMap {PUBLIC_KEY} in namespace {self._namespace} has no {key_files.PUBLIC}")
        path = Path(tempfile.mkdtemp(prefix="slipway-public-key-")) / key_files.PUBLIC
        path.write_text(self.public_keys[key_files.PUBLIC], "utf-8")
        return path

    @cached_property
    def public_keys(self) -> dict[str, str]:
        """The public keys with which model servers of the namespace verify bundles: file name to PEM."""
        missing = BadInput(f"there is no ConfigMap {PUBLIC_KEY} in namespace {self._namespace}; {SECRETS} makes it")
        with asking("read the public key", missing):
            config_map = self._core.read_namespaced_config_map(PUBLIC_KEY, self._namespace, _request_timeout=TIMEOUT)
        return {name: value for name, value in (config_map.data or {}).items() if name.endswith(".pem")}

    def sign(self, bundle: Path) -> None:
        """Sign a bundle: write its signature file.

        Raises:
            BundleRefused: the bundle has something other than plain files.
            SlipwayError: the Job did not end in time, or returned no signature.
        """
        name = f"sign-{secrets.token_hex(5)}"
        digests = signing.digests_of(contents_of(bundle.resolve()))
        progress.report("register", f"Job {self._namespace}/{name} signs")
        with asking("create Jobs"):
            self._batch.create_namespaced_job(self._namespace, self._job(name, digests), _request_timeout=TIMEOUT)
        try:
            pod = self._ended(name)
            with asking("read the logs of pods"):
                log = self._core.read_namespaced_pod_log(
                    pod.metadata.name, self._namespace, tail_lines=50, _request_timeout=TIMEOUT
                )
        finally:
            self._remove(name)
        (bundle / SIGNATURE).write_bytes(_signature_in(log, f"{self._namespace}/{pod.metadata.name}"))

    def _job(self, name: str, digests: dict[str, str]) -> dict[str, Any]:
        """The manifest of a Job from the CronJob's template, with the digests in an annotation of its pod."""
        missing = BadInput(f"there is no CronJob {SIGNER} in namespace {self._namespace}; apply manifests/")
        with asking("read the CronJob that signs", missing):
            cron_job = self._batch.read_namespaced_cron_job(SIGNER, self._namespace, _request_timeout=TIMEOUT)
        spec = self._batch.api_client.sanitize_for_serialization(cron_job.spec.job_template.spec)
        files = json.dumps(digests, separators=(",", ":"), sort_keys=True)
        spec["template"]["metadata"] = {"labels": LABELS, "annotations": {FILES: files}}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self._namespace, "labels": LABELS},
            "spec": spec,
        }

    def _ended(self, name: str) -> Any:
        """Wait until the pod of a Job has ended, and return it.

        Raises:
            SlipwayError: it did not end within the limit.
        """
        deadline, pod = time.monotonic() + self._limit_s, None
        while (remaining := deadline - time.monotonic()) > 0:
            with asking("watch pods"):
                events = watch.Watch().stream(
                    self._core.list_namespaced_pod,
                    self._namespace,
                    label_selector=f"batch.kubernetes.io/job-name={name}",
                    timeout_seconds=max(1, min(LOOK_S, int(remaining))),
                    _request_timeout=TIMEOUT,
                )
                for event in events:
                    pod = event["object"]
                    if pod.status.phase in ("Succeeded", "Failed"):
                        return pod
        reasons = "; ".join(message for _, _, message in symptoms(pod)) if pod else "it has no pod"
        raise SlipwayError(
            f"Job {self._namespace}/{name}, which signs the bundle, did not end within {self._limit_s:.0f} s "
            f"({reasons or 'its pod does not start'}); is there a Secret slipway-signing? {SECRETS} makes it"
        )

    def _remove(self, name: str) -> None:
        """Remove a Job and its pod. A failure is only reported, since Kubernetes removes the Job later by itself."""
        try:
            with asking("delete Jobs"):
                self._batch.delete_namespaced_job(
                    name, self._namespace, propagation_policy="Background", _request_timeout=TIMEOUT
                )
        except SlipwayError as error:
            progress.report("register", f"Job {self._namespace}/{name} could not be removed: {error}")


def _signature_in(log: str, pod: str) -> bytes:
    """The signature in a log; raises SlipwayError when there is none."""
    lines = log.strip().splitlines()
    signatures = [line.removeprefix(ANSWER) for line in lines if line.startswith(ANSWER)]
    try:
        return base64.b64decode(signatures[-1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise SlipwayError(f"pod {pod} signed nothing: {lines[-1] if lines else 'it said nothing'}") from error
