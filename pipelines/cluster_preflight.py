"""What can be known to be wrong with a cluster before any step runs: what is not installed, absent, or not allowed."""

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
"""Name of what is asked for and not made."""
APPLY = "`kubectl apply -k manifests/overlays/kind`"


class Right(NamedTuple):
    """Something that a run does in the namespace of the cluster's settings; with a `name`, with that object only."""

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
"""What every run does there."""
FURTHER_RIGHTS = (
    Right("get", "serving.knative.dev", "services"),
    Right("get", "gateway.networking.k8s.io", "httproutes"),
    Right("get", "", "serviceaccounts"),
    Right("get", "", "configmaps", name=PUBLIC_KEY),
)
"""What a run does in one of KServe's modes only, or what lets the preflight see more. `manifests/` gives them all."""
TLS_RIGHTS = tuple(Right(verb, *backend_tls.KIND[:3:2]) for verb in ("create", "get", "patch", "delete"))
"""What a run does there whose model servers listen with TLS; see `slipway.components.rollout.kserve.backend_tls`."""
SIGNING_RIGHTS = (
    Right("create", "batch", "jobs"),
    Right("delete", "batch", "jobs"),
    Right("get", "batch", "cronjobs", name=SIGNER),
)
"""What a run does there whose bundles are signed there; see `slipway.components.register.signing_job`."""
RIGHTS_OF_STEPS = (
    Right("list", "", "pods"),
    Right("get", "", "pods", "log"),
    Right("get", "argoproj.io", "workflows"),
)
"""What the closing step does where the run's own pods are, to tell why one failed. Kubeflow Pipelines gives them."""
KINDS = (
    ("kubeflow.org", "v1", "pytorchjobs", "the training operator"),
    ("serving.kserve.io", "v1beta1", "inferenceservices", "KServe"),
)


def check_cluster(settings: ClusterSettings, registry: RegistrySettings | None = None, model_name: str = "") -> None:
    """Look at everything in the cluster that a later step will need.

    What we may not read (another's Secret, say) is taken to be there: only what is known to be absent is an error.

    Args:
        settings: of the cluster.
        registry: where bundles are, what signs them, and whether they are encrypted; the default settings leave all
            of that out.
        model_name: name of the served model, so that its gateway is asked, too; empty leaves that out.

    Raises:
        BadInput: the first thing that is not there, or not allowed; the message says what and what to do.
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
    if not registry.signing_key and (place := signing_namespace(registry.keys)) is not None:
        _check_signing(api, place)
    if model_name:
        check_reachable(model_name, settings)


def check_admitted(custom: client.CustomObjectsApi, settings: ClusterSettings, namespace: str, bundles: str) -> None:
    """See that the API server would admit a training and a service of these settings; policies may refuse some.

    Raises:
        BadInput: it would not; the message has its words.
    """
    train = TrainSettings(processes=settings.processes_per_pod)
    job = job_manifest("preflight", "preflight", settings.store, train, settings, namespace)
    asked = [("train", job, PLURAL)]
    if bundles.startswith("s3://"):
        revision = Revision("1", f"{bundles.rstrip('/')}/preflight", f"sha256:{'0' * 64}")
        service = manifest.service(PREFLIGHT, namespace, Record(revision), "Standard", settings)
        asked.append(("serve", service, manifest.PLURAL))
    for what, made, plural in asked:
        group, _, version = made["apiVersion"].partition("/")
        with asking(f"{what} with these settings"):
            custom.create_namespaced_custom_object(
                group, version, namespace, plural, made, dry_run="All", _request_timeout=TIMEOUT
            )


def _check_runtime(api: ServiceApi, settings: ClusterSettings) -> None:
    """See that model servers have a ServingRuntime, and that a gateway can speak to them where they listen with TLS."""
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
    made = backend_tls.policy(PREFLIGHT, namespace, [manifest.backend(PREFLIGHT, Revision("1", "", ""))], tls, None)
    with asking(f"make {plural} with these settings", needs=needs):
        custom.create_namespaced_custom_object(
            group, version, namespace, plural, made, dry_run="All", _request_timeout=TIMEOUT
        )


def _check_signing(api: client.ApiClient, namespace: str) -> None:
    """See that bundles can be signed in a namespace. The private key is not looked at: to see it is to read it."""
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
        asked = client.V1ResourceAttributes(namespace=namespace, **right._asdict())
        review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked))
        answer = api.create_self_subject_access_review(review, _request_timeout=TIMEOUT)
        if not answer.status.allowed:
            yield right


def _secrets_of(core: client.CoreV1Api, account: str, namespace: str) -> list[str]:
    """The Secrets that a service account names, of which KServe takes the credentials of the store."""
    with asking("look at what is installed"):
        try:
            found = core.read_namespaced_service_account(account, namespace, _request_timeout=TIMEOUT)
        except client.ApiException as error:
            if error.status == 403:
                return []
            raise
    return [secret.name for secret in found.secrets or []]


def _absent(read: Any, *arguments: Any, **options: Any) -> bool:
    """Whether the API server says that something is not there."""
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
