"""A lock for drivers on all machines: a Lease (coordination.k8s.io/v1) that its holder renews.

A holder considers its lease valid for a shorter time than others do, and counts from the moment before it sent the
request to renew it. So it stops before another driver may begin, however slow the responses are. The API server rejects
changes of an earlier holder that arrive late: see `slipway.components.rollout.kserve.fence`.
"""

import contextlib
import datetime
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from slipway.components.errors import SlipwayError
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking

DURATION_S = 20
"""Seconds without a renewal after which a lease is free, since its holder is considered dead."""
BELIEVED = 2 / 3
"""Part of this time after which a holder that cannot renew its lease gives up, as in Kubernetes' leader election."""
RENEW_S = 5.0
"""Seconds between two renewals."""
LOOK_S = 1.0
"""Seconds between two looks at a lease that another process holds."""


class Lease:
    """Holds a name in a namespace for this process.

    Args:
        api: connection to the cluster.
        namespace: of the lease.
        name: of the lease.
        duration_s: seconds without a renewal after which the lease is free.
        clock: returns a monotonic time, in seconds.
    """

    def __init__(
        self,
        api: client.ApiClient,
        namespace: str,
        name: str,
        duration_s: int = DURATION_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = client.CoordinationV1Api(api)
        self._namespace, self._name, self._duration_s = namespace, name, duration_s
        self._identity = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._believed_s, self._clock = BELIEVED * duration_s, clock
        self._renewed = 0.0
        """When the last successful renewal was sent, by `clock`; -inf when another process has the lease."""
        self.held = False
        """Whether this process took the lease and has not released it."""
        self.transition = 0
        """The number of this holder; higher than that of every earlier holder."""

    @property
    def token(self) -> str:
        """The number and identity of this holder; see `slipway.components.rollout.kserve.fence`."""
        return f"{self.transition} {self._identity}"

    @contextlib.contextmanager
    def holding(self, after: int = 0) -> Iterator[None]:
        """Take the lease, and renew it in a thread until the end of the context.

        Args:
            after: the highest known number of an earlier holder. A Lease that was deleted would start again from 1.

        Raises:
            SlipwayError: another process holds the lease; the message names it.
        """
        self._acquire(after)
        stop = threading.Event()
        renewal = threading.Thread(target=self._renew_until, args=(stop,), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            stop.set()
            renewal.join()
            self.held = False
            with contextlib.suppress(ApiException, SlipwayError, OSError):  # a lease that stays becomes free anyway
                self._release()

    def check(self) -> None:
        """Check that this process still holds the lease.

        Raises:
            SlipwayError: it could not be renewed in time, so another process may hold it now or soon.
        """
        if self.held and self._clock() - self._renewed > self._believed_s:
            raise SlipwayError(
                f"the lock {self._namespace}/{self._name} could not be renewed for {self._believed_s:.0f} s, so "
                "another rollout may have begun; run again when the cluster answers"
            )

    def holder(self) -> str | None:
        """The process that holds the lease now, with its host and since when; None when it is free."""
        try:
            lease = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return _holder(lease) if not _free(lease, self._duration_s) else None

    def wait_until_free(self, timeout_s: float) -> str | None:
        """Wait until the lease is free, for example because its holder is dead; return who still holds it, or None."""
        end = time.monotonic() + timeout_s
        while (holder := self.holder()) and time.monotonic() < end:
            time.sleep(LOOK_S)
        return holder

    def _acquire(self, after: int) -> None:
        names = (self._name, self._namespace)
        with asking("lock the rollout (leases)"):
            try:
                lease = self._api.read_namespaced_lease(*names, _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status != 404:
                    raise
                lease = client.V1Lease(metadata=client.V1ObjectMeta(name=self._name), spec=client.V1LeaseSpec())
            if not self._is_free(lease):
                raise SlipwayError(
                    f"another rollout drives {self._name}: {_holder(lease)}; wait for it, or end that process"
                )
            sent = self._clock()
            self._take(lease, after)
            try:
                if lease.metadata.resource_version:
                    self._api.replace_namespaced_lease(*names, lease, _request_timeout=TIMEOUT)
                else:
                    self._api.create_namespaced_lease(self._namespace, lease, _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status != 409:
                    raise
                raise SlipwayError(f"another rollout took {self._name} at the same moment; try again") from error
        self._renewed, self.held, self.transition = sent, True, lease.spec.lease_transitions

    def _is_free(self, lease: Any) -> bool:
        """Whether no process holds the lease.

        Clocks of machines may differ, so a holder that seems dead gets the time of one renewal to show that it lives.
        """
        if not _free(lease, self._duration_s):
            return False
        if not lease.spec.holder_identity:
            return True
        time.sleep(1.5 * RENEW_S)
        again = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        return bool(again.spec.renew_time == lease.spec.renew_time)

    def _take(self, lease: Any, after: int) -> None:
        now = datetime.datetime.now(datetime.UTC)
        lease.spec.lease_transitions = max(lease.spec.lease_transitions or 0, after) + 1
        lease.spec.holder_identity, lease.spec.lease_duration_seconds = self._identity, self._duration_s
        lease.spec.acquire_time = lease.spec.renew_time = now

    def _renew_until(self, stop: threading.Event) -> None:
        while not stop.wait(RENEW_S):
            with contextlib.suppress(Exception):  # after any error the next attempt may succeed; `check` decides
                self._renew()
            if self._renewed == float("-inf"):
                return

    def _renew(self) -> None:
        """Renew the lease.

        Its time counts from before the request, not from the response: others count from the time that the request
        writes.
        """
        sent = self._clock()
        timeout = max(self._believed_s - (sent - self._renewed), RENEW_S)
        lease = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=timeout)
        if lease.spec.holder_identity != self._identity:
            self._renewed = float("-inf")
            return
        lease.spec.renew_time = datetime.datetime.now(datetime.UTC)
        self._api.replace_namespaced_lease(self._name, self._namespace, lease, _request_timeout=timeout)
        self._renewed = sent

    def _release(self) -> None:
        lease = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        if lease.spec.holder_identity == self._identity:
            lease.spec.holder_identity = ""
            self._api.replace_namespaced_lease(self._name, self._namespace, lease, _request_timeout=TIMEOUT)


def _free(lease: Any, duration_s: int) -> bool:
    spec = lease.spec
    if not spec.holder_identity or spec.renew_time is None:
        return True
    age = datetime.datetime.now(datetime.UTC) - spec.renew_time
    return bool(age.total_seconds() > (spec.lease_duration_seconds or duration_s))


def _holder(lease: Any) -> str:
    return f"{readable_identity(lease.spec.holder_identity)}, since {lease.spec.acquire_time:%Y-%m-%d %H:%M:%S} UTC"


def readable_identity(identity: str) -> str:
    """The identity of a holder as a phrase for people."""
    host, _, rest = identity.partition("/")
    return f"process {rest.partition('/')[0]} on {host}"
