"""A lock that every machine sees: a Lease (coordination.k8s.io/v1), renewed while its holder lives."""

import contextlib
import datetime
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from components.errors import SlipwayError
from components.kubernetes_api import TIMEOUT, asking

DURATION_S = 20
"""A lease that was not renewed for so long is free: its holder is dead."""
RENEW_S = 5.0
LOOK_S = 1.0


class Lease:
    """Holds a name in a namespace for this process.

    Args:
        api: a connection.
        namespace: of the lease.
        name: of the lease.
        duration_s: how long a lease outlives its holder.
    """

    def __init__(self, api: client.ApiClient, namespace: str, name: str, duration_s: int = DURATION_S) -> None:
        self._api = client.CoordinationV1Api(api)
        self._namespace, self._name, self._duration_s = namespace, name, duration_s
        self._identity = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._renewed = 0.0
        self.held = False

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Hold it.

        Raises:
            SlipwayError: another process holds it; the message names it.
        """
        self._acquire()
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
            SlipwayError: it could not be renewed in time, and another process may hold it now.
        """
        if self.held and time.monotonic() - self._renewed > self._duration_s:
            raise SlipwayError(
                f"the lock {self._namespace}/{self._name} could not be renewed for {self._duration_s} s, so another "
                "rollout may have begun; run again when the cluster answers"
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

    def _acquire(self) -> None:
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
            self._take(found)
            try:
                if found.metadata.resource_version:
                    self._api.replace_namespaced_lease(*place, found, _request_timeout=TIMEOUT)
                else:
                    self._api.create_namespaced_lease(self._namespace, found, _request_timeout=TIMEOUT)
            except ApiException as error:
                if error.status != 409:
                    raise
                raise SlipwayError(f"another rollout took {self._name} at the same moment; try again") from error
        self._renewed, self.held = time.monotonic(), True

    def _is_free(self, found: Any) -> bool:
        """Whether nobody holds it. Clocks may disagree: a holder that seems dead gets time to renew."""
        if not _free(found, self._duration_s):
            return False
        if not found.spec.holder_identity:
            return True
        time.sleep(1.5 * RENEW_S)
        again = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
        return bool(again.spec.renew_time == found.spec.renew_time)

    def _take(self, found: Any) -> None:
        now = datetime.datetime.now(datetime.UTC)
        found.spec.holder_identity, found.spec.lease_duration_seconds = self._identity, self._duration_s
        found.spec.acquire_time = found.spec.renew_time = now

    def _renew_until(self, stop: threading.Event) -> None:
        while not stop.wait(RENEW_S):
            with contextlib.suppress(ApiException, SlipwayError, OSError, Exception):
                found = self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=TIMEOUT)
                if found.spec.holder_identity != self._identity:
                    self._renewed = float("-inf")
                    return
                found.spec.renew_time = datetime.datetime.now(datetime.UTC)
                self._api.replace_namespaced_lease(self._name, self._namespace, found, _request_timeout=TIMEOUT)
                self._renewed = time.monotonic()

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
    host, _, rest = lease.spec.holder_identity.partition("/")
    return f"process {rest.partition('/')[0]} on {host}, since {lease.spec.acquire_time:%Y-%m-%d %H:%M:%S} UTC"
