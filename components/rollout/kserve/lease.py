"""A lock that every machine sees: a Lease (coordination.k8s.io/v1), renewed while its holder lives.

A holder believes in its lease for a shorter time than others do, and counts that time from before it asked for it. So
it stops before another may begin, however slow the answers are. What it had sent by then and what arrives later is
refused by the API server: see `slipway.components.rollout.kserve.fence`.
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
"""A lease that was not renewed for so long is free: its holder is dead."""
BELIEVED = 2 / 3
"""Part of this time after which a holder that could not renew it gives up; as in Kubernetes' own leader election."""
RENEW_S = 5.0
LOOK_S = 1.0


class Lease:
    """Holds a name in a namespace for this process.

    Args:
        api: a connection.
        namespace: of the lease.
        name: of the lease.
        duration_s: how long a lease outlives its holder.
        clock: seconds that only grow.
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
        """When the last request to renew it was begun that succeeded."""
        self.held = False
        self.transition = 0
        """The number of this holder among all: higher than that of every earlier one."""

    @property
    def token(self) -> str:
        """The number of this holder, and who it is; see `slipway.components.rollout.kserve.fence`."""
        return f"{self.transition} {self._identity}"

    @contextlib.contextmanager
    def holding(self, after: int = 0) -> Iterator[None]:
        """Hold it.

        Args:
            after: the highest number of a holder that is known otherwise; a Lease that was deleted counts anew.

        Raises:
            SlipwayError: another process holds it; the message names it.
        """
        self._acquire(after)
        stop = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(stop,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stop.set()
            renewing.join()
            self.held = False
            with contextlib.suppress(ApiException, SlipwayError, OSError):
                self._release()

    def check(self) -> None:
        """See that it is still ours.

        Raises:
            SlipwayError: it could not be renewed in time, and another process may hold it now or soon.
        """
        if self.held and self._clock() - self._renewed > self._believed_s:
            raise SlipwayError(
                f"the lock {self._namespace}/{self._name} could not be renewed for {self._believed_s:.0f} s, so "
                "another rollout may have begun; run again when the cluster answers"
            )

    def holder(self) -> str | None:
        """Who holds it now: host/process/…, since when."""
        try:
            found = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return _holder(found) if not _free(found, self._duration_s) else None

    def wait_until_free(self, timeout_s: float) -> str | None:
        """Give a holder that is dead the time after which it counts as dead; who holds it still, or None."""
        end = time.monotonic() + timeout_s
        while (holder := self.holder()) and time.monotonic() < end:
            time.sleep(LOOK_S)
        return holder

    def _acquire(self, after: int) -> None:
        place = (self._name, self._namespace)
        with asking("lock the rollout (leases)"):
            try:
                found = self._api.read_namespaced_lease(*place, _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status != 404:
                    raise
                found = client.V1Lease(metadata=client.V1ObjectMeta(name=self._name), spec=client.V1LeaseSpec())
            if not self._is_free(found):
                raise SlipwayError(
                    f"another rollout drives {self._name}: {_holder(found)}; wait for it, or end that process"
                )
            began = self._clock()
            self._take(found, after)
            try:
                if found.metadata.resource_version:
                    self._api.replace_namespaced_lease(*place, found, _request_timeout=TIMEOUT)
                else:
                    self._api.create_namespaced_lease(self._namespace, found, _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status != 409:
                    raise
                raise SlipwayError(f"another rollout took {self._name} at the same moment; try again") from error
        self._renewed, self.held, self.transition = began, True, found.spec.lease_transitions

    def _is_free(self, found: Any) -> bool:
        """Whether nobody holds it. Clocks may disagree: a holder that seems dead gets time to renew."""
        if not _free(found, self._duration_s):
            return False
        if not found.spec.holder_identity:
            return True
        time.sleep(1.5 * RENEW_S)
        again = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        return bool(again.spec.renew_time == found.spec.renew_time)

    def _take(self, found: Any, after: int) -> None:
        now = datetime.datetime.now(datetime.UTC)
        found.spec.lease_transitions = max(found.spec.lease_transitions or 0, after) + 1
        found.spec.holder_identity, found.spec.lease_duration_seconds = self._identity, self._duration_s
        found.spec.acquire_time = found.spec.renew_time = now

    def _renew_until(self, stop: threading.Event) -> None:
        while not stop.wait(RENEW_S):
            with contextlib.suppress(Exception):  # whatever it is, the next attempt may succeed
                self._renew()
            if self._renewed == float("-inf"):
                return

    def _renew(self) -> None:
        """Renew it; it counts from now, not from the answer, since others count from what the API server has."""
        began = self._clock()
        timeout = max(self._believed_s - (began - self._renewed), RENEW_S)
        found = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=timeout)
        if found.spec.holder_identity != self._identity:
            self._renewed = float("-inf")
            return
        found.spec.renew_time = datetime.datetime.now(datetime.UTC)
        self._api.replace_namespaced_lease(self._name, self._namespace, found, _request_timeout=timeout)
        self._renewed = began

    def _release(self) -> None:
        found = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        if found.spec.holder_identity == self._identity:
            found.spec.holder_identity = ""
            self._api.replace_namespaced_lease(self._name, self._namespace, found, _request_timeout=TIMEOUT)


def _free(lease: Any, duration_s: int) -> bool:
    spec = lease.spec
    if not spec.holder_identity or spec.renew_time is None:
        return True
    age = datetime.datetime.now(datetime.UTC) - spec.renew_time
    return bool(age.total_seconds() > (spec.lease_duration_seconds or duration_s))


def _holder(lease: Any) -> str:
    return f"{words(lease.spec.holder_identity)}, since {lease.spec.acquire_time:%Y-%m-%d %H:%M:%S} UTC"


def words(identity: str) -> str:
    """The identity of a holder for people."""
    host, _, rest = identity.partition("/")
    return f"process {rest.partition('/')[0]} on {host}"
