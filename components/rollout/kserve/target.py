"""The rollout target on a cluster: moves traffic between two revisions of a KServe InferenceService.

The InferenceService holds the whole record of the rollout (`slipway.components.rollout.kserve.record`), so a driver on
any machine continues where another was killed. One server-side apply changes specification and record together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from slipway.components.errors import RevisionFailed, SlipwayError
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.rollout.kserve import (
    endpoint,
    gateway,
    manifest,
    pod_client,
    pod_counters,
    queue_proxy,
    readiness,
    record,
    routing,
)
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.backend_tls import BackendTls
from slipway.components.rollout.kserve.fence import Fence
from slipway.components.rollout.kserve.lease import Lease
from slipway.components.rollout.kserve.moving import Traffic
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.kserve.wait import NoSplit, NotRestored, SlowCluster, Waiting
from slipway.components.rollout.target import Counts, Pair, Revision
from slipway.components.step_runtime import progress

STEP = "rollout"
RESTORE_TIMEOUT_S, SPLIT_TIMEOUT_S = 300.0, 40.0


class KServeTarget:
    """Implements `slipway.components.rollout.target.RolloutTarget` for an InferenceService.

    Args:
        name: name of the service and of the model. Bundles are in an object store; `Revision.bundle` is their URI.
        settings: namespace, runtime, replicas, gateway.

    Raises:
        BadInput: there is no cluster.
    """

    def __init__(self, name: str, settings: ClusterSettings) -> None:
        self.settings = settings
        self.namespace = settings.namespace or own_namespace() or "default"
        self.api = ServiceApi(self.namespace, name)
        self.mode = self.api.mode(settings.deployment_mode)
        self.name = name
        self._waiting = Waiting(self.api, self.mode)
        self._lease = Lease(self.api.connection, self.namespace, f"{name}-rollout")
        self._fence = Fence(self.api, self._lease)
        self._tls = BackendTls(self.api, self.mode, self._lease)
        self._traffic = Traffic(
            self.api, self.mode, settings, self._waiting, self._apply, self._fence.delete, self._who_answers
        )
        self._pending: dict[str, Any] | None = None
        """The driver's state while there is no service that could hold it."""
        self._gateway_address: str | None = None
        """The gateway's address, once it is known."""
        prometheus = (
            pod_counters.PrometheusMetrics(settings.prometheus, self.namespace) if settings.prometheus else None
        )
        self._metrics = prometheus or pod_counters.PodMetrics(self.api)
        self._counts = pod_counters.from_json(self.record().counts)

    def champion(self) -> Revision | None:
        """The revision that serves."""
        return self.record().champion

    def challenger(self) -> Revision | None:
        """The revision of a rollout that is in progress or held."""
        return self.record().challenger

    def deploy(self, revision: Revision) -> None:
        """Make `revision` the challenger with 0 % of traffic. The first revision of all gets the traffic at once.

        Raises:
            BadInput: the ServingRuntime cannot be used in this mode.
        """
        self._tls.runtime(self.settings.serving_runtime)
        current = self._restored(self.record())
        if current.challenger and current.challenger != revision:
            raise SlipwayError(
                f"version {current.challenger.version} is the challenger; promote it or roll it back before "
                f"version {revision.version}"
            )
        if current.challenger:
            return
        if current.champion:
            self._waiting.until_rolled_out(current)  # a killed driver may have left a promotion or rollback incomplete
            pods = [pod.metadata.name for pod in self.api.pods(current.champion.version)]
            self._counts.begin(current.champion.version, self._pod_counts(current.champion), pods)
        self._counts.begin(revision.version, {})
        current.challenger, current.percent, current.replicas = revision, 0, 1
        current.state = self._pending or current.state
        self._apply(current)

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        """Return when the challenger answers predictions; see the protocol.

        The first version of all has all traffic, so it needs `min_replicas` ready pods.
        """
        first = self.record().champion is None
        wanted = self.settings.min_replicas if first else 1
        try:
            self._waiting.until_answers(revision, timeout_s, self.settings.unschedulable_s, wanted)
            if not first:
                self._until_split()
        except SlowCluster as error:
            raise RevisionFailed(str(error)) from error

    def set_traffic(self, percent: int) -> None:
        """Route `percent` of the public endpoint's requests to the challenger, after it has the pods for them."""
        current = self._checked()
        self._traffic.split(current, percent if current.challenger else 0)

    def observe(self) -> dict[str, Counts]:
        """Counts of both revisions since `deploy`."""
        current = self._checked()
        totals = {}
        for revision in filter(None, (current.champion, current.challenger)):
            self._counts.take(revision.version, self._pod_counts(revision))
            totals[revision.version] = self._counts.total(revision.version)
        return totals

    def send(self, texts: Sequence[str]) -> int:
        """Send each text through the gateway; return how many a revision admitted."""
        if self.settings.protocol == "grpc":
            return endpoint.send_grpc(self.endpoint(), self.name, texts)
        return endpoint.send(self.endpoint(), self.name, texts, endpoint.credentials())

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        """Send each text to both revisions directly, through the API server."""
        return self._pairs(texts, in_turn=False)

    def shadow(self, percent: int) -> None:
        """Do nothing: neither Knative nor KServe's HTTPRoutes copy requests. `shadow_pairs` replays texts instead."""

    def shadow_pairs(self, texts: Sequence[str]) -> list[Pair]:
        """Both revisions' answers to the texts, which are sent one after the other."""
        return self._pairs(texts, in_turn=True)

    def stick(self, header: str) -> bool:
        """Return whether `header` is empty: the weights of both gateways route at random, and not by a header."""
        return not header

    def promote(self) -> None:
        """Make the challenger the champion with all traffic."""
        self._traffic.promote(self._checked())

    def rollback(self) -> None:
        """Give all traffic back to the champion and remove the challenger; without a champion, remove the service."""
        current = self.record()
        if current.challenger and current.champion is None:
            self._pending = current.state  # the service that holds the state is removed before the rollout is over
            self._traffic.remove()
            return
        if current.challenger:
            self._traffic.take_back(current)
        try:
            self._restored(current)
        except NotRestored as error:
            progress.report(STEP, str(error))

    def load_state(self) -> dict[str, Any] | None:
        """The driver's state."""
        return self._pending or self.record().state

    def save_state(self, state: dict[str, Any] | None) -> None:
        """Save the driver's state and the pods' counts in the InferenceService."""
        current = self.record()
        if current.champion is None and current.challenger is None:
            self._pending = state
            return
        self._pending = None
        if state is None:
            self._counts = pod_counters.PodCounts()
        current.state = state
        self._apply(current)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the service for one driver, on whichever machine it runs."""
        with self._lease.holding(self._fence.last()):
            self._fence.claim()
            self._tls.claim()
            # Only after the claim can no earlier holder change the record any more.
            self._counts = pod_counters.from_json(self.record().counts)
            yield

    def complete(self) -> None:
        """Complete a rollback that a killed driver left incomplete."""
        self._restored(self.record())

    def holder(self) -> str | None:
        """The process that drives a rollout now, or None."""
        return self._lease.holder()

    def wait_until_free(self, timeout_s: float) -> str | None:
        """Wait until no process drives a rollout; return the one that still does, or None."""
        return self._lease.wait_until_free(timeout_s)

    def endpoint(self) -> endpoint.Endpoint:
        """Where clients send requests."""
        return endpoint.endpoint_of(self.api.read(), self.mode, self.settings.gateway, self._gateway)

    def record(self) -> Record:
        """The record in the InferenceService; an empty one when there is no service.

        Raises:
            SlipwayError: a service of this name exists that Slipway did not make.
        """
        service = self.api.read()
        if service is None:
            return Record()
        annotations = service["metadata"].get("annotations") or {}
        if service["spec"] and not any(key in annotations for key in record.KEYS):
            raise SlipwayError(
                f"InferenceService {self.namespace}/{self.name} was not made by Slipway; choose another model_name, or "
                "delete it"
            )
        canary = (service["spec"].get("canary") or [{}])[0]
        share = service["spec"]["predictor"].get("canaryTrafficPercent", canary.get("trafficPercent", 0))
        return record.read(annotations, share, canary.get("predictor", {}).get("minReplicas", 1))

    def _pairs(self, texts: Sequence[str], in_turn: bool) -> list[Pair]:
        current = self._checked()
        champion, challenger = (
            pod_client.Side(revision, readiness.ready(self.api.pods(revision.version)) if revision else [])
            for revision in (current.champion, current.challenger)
        )
        pairs = pod_client.pairs(self.api, champion, challenger, texts, in_turn)
        self._checked()
        return pairs

    def _who_answers(self) -> str | None:
        return endpoint.version_that_answers(self.endpoint(), self.name, self.settings.protocol)

    def _gateway(self) -> str | None:
        """The gateway's address within the cluster."""
        if self._gateway_address is None:
            self._gateway_address = gateway.address(self.api.connection, self.api.http_routes())
        return self._gateway_address

    def _until_split(self) -> None:
        """Return when the routes include the challenger. Raises NoSplit when this KServe cannot split traffic."""
        self._waiting.until_routed(self.record())
        if self.mode == "Standard":
            try:
                self._waiting.until("the gateway", lambda: routing.splits(self.api), SPLIT_TIMEOUT_S)
            except SlowCluster as error:
                raise NoSplit(routing.NEEDS) from error

    def _apply(self, current: Record) -> None:
        """Make the InferenceService agree with a record."""
        current.counts = pod_counters.to_json(self._counts) if current.state is not None else {}
        existing = self.api.read()
        deployed = manifest.runtimes(existing)
        fields = manifest.service(self.name, self.namespace, current, self.mode, self.settings, deployed)
        # The policy comes first: a gateway that does not know it would speak plain HTTP to servers that expect TLS.
        self._tls.prepare(fields, existing)
        self._fence.apply(fields)
        if existing is None:  # only now can the policy name the service as its owner
            self._tls.prepare(fields, self.api.read())

    def _checked(self) -> Record:
        """The record. Raises RevisionFailed when the challenger's model server ended."""
        current = self.record()
        if current.challenger and (reason := readiness.crash(self._waiting.newest(current.challenger))):
            raise RevisionFailed(f"version {current.challenger.version}: {reason}")
        return current

    def _pod_counts(self, revision: Revision) -> dict[str, Counts]:
        """The present counters of a revision's pods, by pod, and of their queue-proxies."""
        pods = readiness.ready(self.api.pods(revision.version))
        # Queue-proxies first: a failure that comes in between is then known to the server, and not taken for unseen.
        proxies = queue_proxy.read(self.api, pods) if self.mode == "Knative" else {}
        return proxies | self._metrics.read(pods)

    def _restored(self, current: Record) -> Record:
        """Write the champion back into the specification after a rollback in Knative mode; return the record.

        This creates a new revision of the champion. Its old revision serves until the new one is ready.

        Raises:
            NotRestored: the new revision does not start.
        """
        if not current.restoring or current.champion is None:
            return current
        progress.report(STEP, f"writing version {current.champion.version} back into the InferenceService")
        try:
            pods = self.settings.min_replicas
            self._waiting.until_answers(current.champion, RESTORE_TIMEOUT_S, RESTORE_TIMEOUT_S, pods)
        except (RevisionFailed, SlowCluster) as error:
            raise NotRestored(
                f"version {current.champion.version} serves as before, but a new pod of it does not start ({error}); "
                "`slipway status --repair` tries again when that is mended"
            ) from error
        current.restoring = False
        self._apply(current)
        self._waiting.until_rolled_out(current)
        return current
