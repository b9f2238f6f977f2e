"""Reads the request counters of a revision's pods, from their own metrics or from Prometheus, for the KServe target.

A pod's counters start again from 0 when its container restarts, and are gone when the pod is removed. So the counts of
each pod are saved with the rollout's state.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from slipway.components.clients.credentials import trusted
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.rollout.counter_resets import Ending, Tally, ending_of, since, total_of
from slipway.components.rollout.kserve import queue_proxy
from slipway.components.rollout.kserve.api import METRICS_PORT, PORT, ServiceApi
from slipway.components.rollout.target import Counts, Histogram

REQUESTS, SECONDS = "slipway_requests", "slipway_request_duration_seconds"
INFERENCE = {"infer", "predict"}
CLIENT = "client"
"""Value of the label `source` of clients' requests; a rollout's own requests have another one."""
STALE_S = 60.0
"""Samples of Prometheus that are older, in seconds, are ignored."""


def counts_of(families: Iterable[Metric]) -> Counts:
    """The counts of clients' inference requests in a model server's metrics; all 0 where these are missing."""
    endings: dict[Ending, int] = defaultdict(int)
    buckets: dict[float, float] = defaultdict(float)
    for family in families:
        for sample in family.samples:
            labels = sample.labels
            if labels.get("source") != CLIENT or labels.get("method") not in INFERENCE:
                continue
            if sample.name == f"{REQUESTS}_total":
                endings[ending_of(int(labels["code"]))] += int(sample.value)
            elif sample.name == f"{SECONDS}_bucket":  # the server observes answers with 2xx only
                buckets[float(labels["le"])] += sample.value
    failed = endings[Ending.FAILED]
    return Counts(endings[Ending.ANSWERED] + failed, failed, _histogram(buckets), endings[Ending.ABANDONED])


def _histogram(cumulative: dict[float, float]) -> Histogram:
    """A histogram in ms from cumulative buckets in seconds."""
    if not cumulative:
        return Histogram()
    bounds = sorted(cumulative)
    values = [cumulative[bound] for bound in bounds]
    counts = [int(now - before) for now, before in zip(values, [0.0, *values], strict=False)]
    return Histogram(tuple(round(1000 * bound, 6) for bound in bounds[:-1]), tuple(counts))


class PodMetrics:
    """Reads `/metrics` of each pod through the API server, at a port that clients cannot reach by a gateway."""

    def __init__(self, api: ServiceApi) -> None:
        self._api = api

    def read(self, pods: list[Any]) -> dict[str, Counts]:
        """Counts by pod name; pods that do not answer are missing."""
        counts = {}
        for pod in pods:
            status, body = self._api.ask_pod(pod, "/metrics", timeout_s=5.0, port=_metrics_port(pod))
            if status == httpx.codes.OK:
                counts[pod.metadata.name] = counts_of(text_string_to_metric_families(body.decode()))
        return counts


def _metrics_port(pod: Any) -> int:
    port = (pod.metadata.annotations or {}).get(METRICS_PORT, "")
    return int(port) if port.isdecimal() else PORT


class PrometheusMetrics:
    """Queries a Prometheus server that scrapes the pods.

    Args:
        url: of the server, for example `http://prometheus.monitoring:9090`.
        namespace: of the pods.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url.rstrip("/"), namespace

    def read(self, pods: list[Any]) -> dict[str, Counts]:
        """Counts by pod name; pods without a fresh sample are missing.

        Raises:
            SlipwayError: the server cannot be reached.
        """
        names = "|".join(pod.metadata.name for pod in pods)
        if not names:
            return {}
        by_pod: dict[str, dict[str, Metric]] = defaultdict(dict)
        for name in (f"{REQUESTS}_total", f"{SECONDS}_bucket"):
            selector = f'{name}{{namespace="{self._namespace}",pod=~"{names}"}}'
            fresh = f"{selector} and (time() - timestamp({selector}) < {STALE_S:.0f})"
            for series in self._query(fresh):
                labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
                family = by_pod[labels["pod"]].setdefault(name, Metric(name, "", "unknown"))
                family.add_sample(name, labels, float(series["value"][1]))
        return {pod: counts_of(families.values()) for pod, families in by_pod.items()}

    def _query(self, query: str) -> list[dict[str, Any]]:
        try:
            response = httpx.get(
                f"{self._url}/api/v1/query",
                params={"query": query},
                timeout=10.0,
                trust_env=False,
                verify=trusted(self._url),
            )
            response.raise_for_status()
            series: list[dict[str, Any]] = response.json()["data"]["result"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise SlipwayError(f"Prometheus at {self._url} does not answer queries ({error})") from error
        return series


@dataclass
class PodCounts:
    """Counts of all pods since the rollout began, including pods that are gone.

    A pod that existed when the rollout began, and did not answer then, counts from its first answer on.
    """

    tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)
    """Totals by version and pod."""
    before: dict[str, dict[str, Counts]] = field(default_factory=dict)
    """Counts from before the rollout by version and pod, which are subtracted from the totals."""
    silent: dict[str, list[str]] = field(default_factory=dict)
    """Pods by version that existed when the rollout began, and have not answered since."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Failures by version that only queue-proxies counted: the most so far, since counters are read one by one."""

    def take(self, version: str, seen: dict[str, Counts]) -> None:
        """Add the present counters of a version's pods."""
        own, silent = self.tallies.setdefault(version, {}), self.silent.get(version, [])
        for pod, counts in seen.items():
            if pod in silent:
                silent.remove(pod)
                self.before.setdefault(version, {})[pod] = counts
                own[pod] = Tally(last=counts)
            own[pod] = own.get(pod, Tally()).updated(counts)
        servers, proxies = (self._sum(version, of_proxies) for of_proxies in (False, True))
        beyond = proxies.errors - servers.errors - servers.abandoned
        self.unseen[version] = max(self.unseen.get(version, 0), beyond)

    def begin(self, version: str, seen: dict[str, Counts], pods: Sequence[str] = ()) -> None:
        """Count a version's requests from now on.

        Args:
            version: of the pods.
            seen: present counters by pod.
            pods: names of all pods, including those that did not answer.
        """
        names = [name for pod in pods for name in (pod, f"{pod}{queue_proxy.SUFFIX}")]
        self.silent[version] = [name for name in names if name not in seen]
        self.unseen[version] = 0
        self.tallies[version] = {pod: Tally(last=counts) for pod, counts in seen.items()}
        self.before[version] = seen

    def total(self, version: str) -> Counts:
        """The counts of a version's pods since the rollout began, with the failures that only queue-proxies saw."""
        unseen = self.unseen.get(version, 0)
        return total_of([self._sum(version, of_proxies=False), Counts(unseen, unseen)])

    def _sum(self, version: str, of_proxies: bool) -> Counts:
        """The counts of a version's model servers, or of their queue-proxies."""
        before = self.before.get(version, {})
        return total_of(
            since(tally.total, before.get(name, Counts()))
            for name, tally in self.tallies.get(version, {}).items()
            if name.endswith(queue_proxy.SUFFIX) is of_proxies
        )


_ADAPTER = TypeAdapter(PodCounts)


def to_json(counts: PodCounts) -> dict[str, Any]:
    """The counts as plain JSON."""
    document: dict[str, Any] = _ADAPTER.dump_python(counts, mode="json")
    return document


def from_json(document: dict[str, Any]) -> PodCounts:
    """Read counts from plain JSON.

    Raises:
        BadInput: the JSON does not hold such counts.
    """
    try:
        return _ADAPTER.validate_python(document)
    except ValueError as error:
        raise BadInput(f"the kept counts of a rollout cannot be read ({error}); `slipway rollback` ends it") from error
