"""Check before any step runs that a cluster has what a run needs, and allows what the run does."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from kubernetes import client

from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import PUBLIC_KEY, SECRETS, ClusterSettings, own_namespace
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect
from slipway.components.register.settings import RegistrySettings
from slipway.components.register.signing_job import SIGNER, signing_namespace
from slipway.components.rollout.kserve import backend_tls, manifest
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.model import check_reachable
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.target import Revision
from slipway.components.train.job_manifest import PLURAL, job_manifest

PREFLIGHT = "slipway-preflight"
"""Name of the objects in dry-run requests, which make nothing."""
APPLY = "`kubectl apply -k manifests/overlays/kind`"


class Right(NamedTuple):
    """A permission in the namespace of the cluster's settings; with a `name`, for that object only."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {'/'.join(filter(None, (self.resource, self.subresource)))}"


RIGHTS = (
    *(Right(verb, "kubeflow.org", "pytorchjobs") for verb in ("create", "get", "list", "delete")),
    *(Right(verb, "", "pods") for verb in ("list", "watch")),
    Right("get", "", "pods", "log"),
    *(Right(verb, "", "pods", "proxy") for verb in ("get", "create")),
    *(Right(verb, "serving.kserve.io", "inferenceservices") for verb in ("create", "get", "patch", "delete")),
    Right("get", "serving.kserve.io", "servingruntimes"),
    *(Right(verb, "coordination.k8s.io", "leases") for verb in ("create", "get", "update")),
)
"""Permissions that every run needs."""
FURTHER_RIGHTS = (
    Right("get", "serving.knative.dev", "services"),
    Right("get", "gateway.networking.k8s.io", "httproutes"),
    Right("get", "", "serviceaccounts"),
    Right("get", "", "configmaps", name=PUBLIC_KEY),
)
"""Permissions that only one of KServe's modes needs, or that let the preflight check more. The preflight does not
require them. `manifests/` grants them all.
"""
TLS_RIGHTS = tuple(Right(verb, *backend_tls.KIND[:3:2]) for verb in ("create", "get", "patch", "delete"))
"""Permissions for a run whose model servers listen with TLS; see `slipway.components.rollout.kserve.backend_tls`."""
SIGNING_RIGHTS = (
    Right("create", "batch", "jobs"),
    Right("delete", "batch", "jobs"),
    Right("get", "batch", "cronjobs", name=SIGNER),
)
"""Permissions for a run whose bundles a Job signs; see `slipway.components.register.signing_job`."""
RIGHTS_OF_STEPS = (
    Right("list", "", "pods"),
    Right("get", "", "pods", "log"),
    Right("get", "argoproj.io", "workflows"),
)
"""Permissions of the step `report` in the namespace of the run's own pods: it reads there why a pod failed. Kubeflow
Pipelines grants them.
"""
KINDS = (
    ("kubeflow.org", "v1", "pytorchjobs", "the training operator"),
    ("serving.kserve.io", "v1beta1", "inferenceservices", "KServe"),
)


def check_cluster(settings: ClusterSettings, registry: RegistrySettings | None = None, model_name: str = "") -> None:
    """Check everything in the cluster that a later step will need.

    An object that we are not allowed to read counts as present. Only an object that is known to be absent is an error.

    Args:
        settings: of the cluster.
        registry: where bundles are, what signs them, and whether they are encrypted. Without it these checks are
            left out.
        model_name: name of the served model, whose gateway is then checked, too; empty leaves that out.

    Raises:
        BadInput: something is missing or not allowed. The message names the first such thing, and what to do.
    """
    namespace, registry = settings.namespace or own_namespace() or "default", registry or RegistrySettings()
    api = connect()
    core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
    if _absent(core.read_namespace, namespace):
        raise BadInput(f"namespace {namespace} does not exist in the cluster; {APPLY}, or set cluster.namespace")
    with asking("ask what we may do"):
        _check_rights(client.AuthorizationV1Api(api), namespace, RIGHTS)
    for group, version, plural, program in KINDS:
        if _absent(custom.list_namespaced_custom_object, group, version, namespace, plural, limit=1):
            raise BadInput(f"the cluster knows no {plural}; install {program} (manifests/install.sh)")
    for secret in (settings.secret, "slipway-api-keys", "slipway-audit"):
        if _absent(core.read_namespaced_secret, secret, namespace):
            raise BadInput(f"there is no Secret {secret} in namespace {namespace}; {SECRETS} makes it")
    if registry.encryption_key and _absent(core.read_namespaced_secret, "slipway-encryption", namespace):
        raise BadInput(
            f"there is no Secret slipway-encryption in namespace {namespace}, and bundles are encrypted; make it as "
            "manifests/README.md says, or leave registry.encryption_key empty"
        )
    for account in (settings.service_account, settings.server_account):
        if _absent(core.read_namespaced_service_account, account, namespace):
            raise BadInput(f"there is no service account {account} in namespace {namespace}; {APPLY}")
    for secret in _secrets_of(core, settings.server_account, namespace):
        if _absent(core.read_namespaced_secret, secret, namespace):
            raise BadInput(
                f"there is no Secret {secret} in namespace {namespace}, with which {settings.server_account} reads "
                f"bundles; {SECRETS} makes it"
            )
    _check_runtime(ServiceApi(namespace, model_name or PREFLIGHT), settings)
    if _absent(core.read_namespaced_config_map, PUBLIC_KEY, namespace):
        raise BadInput(f"there is no ConfigMap {PUBLIC_KEY} in namespace {namespace}; {SECRETS} makes it")
    check_admitted(custom, settings, namespace, registry.store)
    if not registry.signing_key and (keys_namespace := signing_namespace(registry.keys)) is not None:
        _check_signing(api, keys_namespace)
    if model_name:
        check_reachable(model_name, settings)


def check_admitted(custom: client.CustomObjectsApi, settings: ClusterSettings, namespace: str, bundles: str) -> None:
    """Check by dry runs that the API server would admit a training job and a service with these settings.

    Admission policies of the cluster may reject some settings.

    Raises:
        BadInput: the API server rejects an object. The message quotes it.
    """
    train = TrainSettings(processes=settings.processes_per_pod)
    job = job_manifest("preflight", "preflight", settings.store, train, settings, namespace)
    checks = [("train", job, PLURAL)]
    if bundles.startswith("s3://"):
        revision = Revision("1", f"{bundles.rstrip('/')}/preflight", f"sha256:{'0' * 64}")
        service = manifest.service(PREFLIGHT, namespace, Record(revision), "Standard", settings)
        checks.append(("serve", service, manifest.PLURAL))
    for action, body, plural in checks:
        group, _, version = body["apiVersion"].partition("/")
        with asking(f"{action} with these settings"):
            custom.create_namespaced_custom_object(
                group, version, namespace, plural, body, dry_run="All", _request_timeout=TIMEOUT
            )


def _check_runtime(api: ServiceApi, settings: ClusterSettings) -> None:
    """Check that the ServingRuntime exists, and that a gateway can connect to model servers that listen with TLS."""
    namespace, name = api.namespace, settings.serving_runtime
    runtime = api.serving_runtime(name)
    if runtime is None:
        raise BadInput(f"there is no ServingRuntime {name} in namespace {namespace}; {APPLY}")
    tls = backend_tls.of_runtime(runtime, api.mode(settings.deployment_mode))
    if tls is None:
        return
    core, custom = client.CoreV1Api(api.connection), client.CustomObjectsApi(api.connection)
    with asking("ask what we may do"):
        _check_rights(client.AuthorizationV1Api(api.connection), namespace, TLS_RIGHTS)
    if _absent(core.read_namespaced_config_map, tls.authority, namespace):
        raise BadInput(
            f"there is no ConfigMap {tls.authority} in namespace {namespace}, by which the gateway knows the model "
            f"servers of the ServingRuntime {name}; {SECRETS} makes it, once cert-manager has made their certificates"
        )
    group, version, plural, _, needs = backend_tls.KIND
    policy = backend_tls.policy(PREFLIGHT, namespace, [manifest.backend(PREFLIGHT, Revision("1", "", ""))], tls, None)
    with asking(f"make {plural} with these settings", needs=needs):
        custom.create_namespaced_custom_object(
            group, version, namespace, plural, policy, dry_run="All", _request_timeout=TIMEOUT
        )


def _check_signing(api: client.ApiClient, namespace: str) -> None:
    """Check that a Job can sign bundles in a namespace.

    The Secret with the private key is not checked: the right to see that it exists is the right to read it.
    """
    with asking("ask what we may do"):
        _check_rights(client.AuthorizationV1Api(api), namespace, SIGNING_RIGHTS)
    if _absent(client.BatchV1Api(api).read_namespaced_cron_job, SIGNER, namespace):
        raise BadInput(f"there is no CronJob {SIGNER} in namespace {namespace}, which signs bundles; {APPLY}")


def _check_rights(api: client.AuthorizationV1Api, namespace: str, rights: Sequence[Right]) -> None:
    if missing := next(_missing_rights(api, namespace, rights), None):
        allowed = "see manifests/base/rbac.yaml"
        raise BadInput(f"the cluster does not let us {missing} in namespace {namespace}; {allowed}")


def _missing_rights(api: client.AuthorizationV1Api, namespace: str, rights: Sequence[Right]) -> Iterator[Right]:
    for right in rights:
        attributes = client.V1ResourceAttributes(namespace=namespace, **right._asdict())
        review = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
        )
        response = api.create_self_subject_access_review(review, _request_timeout=TIMEOUT)
        if not response.status.allowed:
            yield right


def _secrets_of(core: client.CoreV1Api, account: str, namespace: str) -> list[str]:
    """The Secrets that a service account lists. KServe takes the credentials of the store from them."""
    with asking("look at what is installed"):
        try:
            service_account = core.read_namespaced_service_account(account, namespace, _request_timeout=TIMEOUT)
        except client.ApiException as error:
            if error.status == 403:  # without the right to read it, nothing is known to be absent
                return []
            raise
    return [secret.name for secret in service_account.secrets or []]


def _absent(read: Any, *arguments: Any, **options: Any) -> bool:
    """Whether an object is known to be absent; False when we are not allowed to read it."""
    with asking("look at what is installed"):
        try:
            read(*arguments, **options, _request_timeout=TIMEOUT)
        except client.ApiException as error:
            if error.status == 403:
                return False
            if error.status != 404:
                raise
            return True
    return False
