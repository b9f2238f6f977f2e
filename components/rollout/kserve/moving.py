"""Moves an InferenceService's traffic in an order that loses no request, for the KServe target.

In Standard mode KServe removes the Service of a removed revision before it changes the HTTPRoutes that name it. A
gateway applies a changed route still later. So a revision is removed only when the gateway sends nothing to it any
more, and it gets a share of traffic only when the pods for that share are ready.
"""

from collections.abc import Callable

from slipway.components.errors import RevisionFailed
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import readiness, sizes
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.manifest import Mode
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.kserve.wait import ROUTE_TIMEOUT_S, SlowCluster, Waiting
from slipway.components.rollout.target import Revision

GROW_TIMEOUT_S = 180.0
"""Time limit for the pods that a larger share needs, in seconds."""


class Traffic:
    """The traffic of one InferenceService. Every act is idempotent.

    Args:
        api: of the service.
        mode: of its deployment.
        settings: how many pods a revision has.
        waiting: waits for the service.
        apply: makes the InferenceService agree with a record.
        delete: removes the InferenceService.
        who_answers: sends a request through the gateway and returns the version that answered, or None.

    Every method raises `SlowCluster` when the cluster does not apply a change in time.
    """

    def __init__(
        self,
        api: ServiceApi,
        mode: Mode,
        settings: ClusterSettings,
        waiting: Waiting,
        apply: Callable[[Record], None],
        delete: Callable[[], None],
        who_answers: Callable[[], str | None],
    ) -> None:
        self._api, self._mode, self._settings, self._waiting = api, mode, settings, waiting
        self._apply, self._delete, self._who_answers = apply, delete, who_answers

    def split(self, current: Record, percent: int) -> None:
        """Route `percent` of new requests to the challenger, after it has the pods for them.

        Raises:
            RevisionFailed: it does not get these pods.
        """
        if percent:
            self._grow(current, percent)
        current.percent = percent
        self._apply(current)
        self._waiting.until_routed(current)
        alone = {0: current.champion, 100: current.challenger}.get(percent)
        if alone and self._has_routes():
            self._waiting.until_settled(alone, self._who_answers)

    def promote(self, current: Record) -> None:
        """Make the challenger the champion.

        Raises:
            RevisionFailed: it does not get the pods that all traffic needs.
        """
        if current.challenger and current.champion:
            if self._has_routes():
                self.split(current, 100)
            else:
                self._grow(current, 100)
        if current.challenger:
            current.champion, current.challenger, current.percent, current.replicas = current.challenger, None, 0, 1
            self._apply(current)
        if current.champion:
            self._waiting.until_rolled_out(current)
            if self._has_routes():
                self._waiting.until_settled(current.champion, self._who_answers)

    def take_back(self, current: Record) -> None:
        """Give all traffic to the champion and remove the challenger.

        In Knative mode `spec.predictor` still describes the challenger afterwards, so the record is `restoring`.
        """
        assert current.champion
        self.split(current, 0)
        current.challenger, current.replicas, current.restoring = None, 1, self._mode == "Knative"
        self._apply(current)
        if self._mode == "Standard":
            self._waiting.until_rolled_out(current)

    def remove(self) -> None:
        """Delete the service, and wait until its routes are gone, which a new service of its name would inherit."""
        self._delete()
        self._waiting.until("the removal", self._api.gone, ROUTE_TIMEOUT_S)

    def _has_routes(self) -> bool:
        """Whether HTTPRoutes lead to the revisions; in Knative mode Knative's own routes do."""
        return self._mode == "Standard" and bool(self._api.http_routes())

    def _grow(self, current: Record, percent: int) -> None:
        """Give the challenger the pods that a share needs. Knative gives each revision `min_replicas` by itself."""
        assert current.challenger
        pods = self._ready_pods(current.champion) if self._mode == "Standard" else 0
        wanted = sizes.of_challenger(self._settings, percent, pods, current.replicas)
        if self._mode == "Standard" and wanted > current.replicas:
            current.replicas = wanted
            self._apply(current)
        try:
            self._waiting.until_answers(current.challenger, GROW_TIMEOUT_S, self._settings.unschedulable_s, wanted)
        except SlowCluster as error:
            raise RevisionFailed(f"it cannot have {percent}% of traffic: {error}") from error

    def _ready_pods(self, revision: Revision | None) -> int:
        return len(readiness.ready(self._api.pods(revision.version))) if revision else 0
