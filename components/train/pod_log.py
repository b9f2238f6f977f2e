"""Follow a pod's log line by line across broken connections and restarted containers."""

import re
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from slipway.components.step_runtime import progress

PROGRESS = re.compile(r"\[train\] (?:([\d.e+]+)/([\d.e+]+) )?(.*)")
"""A line that `slipway.components.step_runtime.progress.report` printed in the pod."""

RETRY_SECONDS = 1.0
READ_SECONDS = 60.0
"""A connection without data for this time is opened again."""


class LogFollower:
    """Copies a pod's log to standard error, and turns its progress lines into progress of this step.

    It is a context manager; a thread follows the log within it.

    Args:
        core: kubernetes CoreV1Api.
        namespace: of the pod.
        pod: name of the pod. It need not exist yet. A later pod of the same name is followed, too.
    """

    def __init__(self, core: Any, namespace: str, pod: str) -> None:
        self.core, self.namespace, self.pod = core, namespace, pod
        self._last = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"log-of-{pod}", daemon=True)

    def __enter__(self) -> "LogFollower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop following, after the lines that the pod has written until now are copied."""
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            last_round = self._stopping.is_set()
            # The pod does not exist yet, its container waits, or the connection broke: try again.
            with suppress(ApiException, HTTPError, OSError):
                self._copy(follow=not last_round)
            if last_round:
                return
            self._stopping.wait(RETRY_SECONDS)

    def _copy(self, follow: bool) -> None:
        """Copy the lines after the last one that was copied, until the container ends or the connection breaks."""
        response = self.core.read_namespaced_pod_log(
            self.pod,
            self.namespace,
            container="pytorch",
            follow=follow,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(5.0, READ_SECONDS),
            **self._since(),
        )
        try:
            pending = b""
            for part in response.stream(amt=None, decode_content=False):
                *lines, pending = (pending + part).split(b"\n")
                for line in lines:
                    self._line(line.decode("utf-8", "replace"))
                if follow and self._stopping.is_set():
                    return
        finally:
            response.close()
            response.release_conn()

    def _since(self) -> dict[str, int]:
        """Arguments that request the lines since the last one, and 30 s before it.

        The API counts in whole seconds, and the clocks of this machine and of the node may differ. Lines that were
        copied before are skipped by their timestamps.
        """
        if not self._last:
            return {}
        last = datetime.fromisoformat(self._last[:26].rstrip("Z")).replace(tzinfo=UTC)
        return {"since_seconds": max(1, int(time.time() - last.timestamp()) + 30)}

    def _line(self, line: str) -> None:
        timestamp, _, text = line.partition(" ")
        if timestamp <= self._last:  # copied before the connection broke; these timestamps can be compared as text
            return
        self._last = timestamp
        if match := PROGRESS.fullmatch(text):
            done, total, message = match.groups()
            progress.report("train", message, float(done) if done else None, float(total) if total else None)
        else:
            print(text, file=sys.stderr, flush=True)
