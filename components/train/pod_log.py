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
"""A line that `slipway.components.step_runtime.progress.report` wrote in the pod."""

RETRY_SECONDS = 1.0
READ_SECONDS = 60.0
"""A connection that is silent for longer is opened again."""


class LogFollower:
    """Copies one pod's log to standard error and its progress to this step's; a context manager.

    Args:
        core: kubernetes CoreV1Api.
        namespace: of the pod.
        pod: its name; it need not exist yet, and may be another pod of the same name later.
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
        """Stop following; what the pod wrote until now is still copied."""
        self._stopping.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            last_round = self._stopping.is_set()
            # No such pod yet, its container waits, or the connection broke: try again.
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
        """A little more than was missed: the API counts in whole seconds, and clocks differ."""
        if not self._last:
            return {}
        last = datetime.fromisoformat(self._last[:26].rstrip("Z")).replace(tzinfo=UTC)
        return {"since_seconds": max(1, int(time.time() - last.timestamp()) + 30)}

    def _line(self, line: str) -> None:
        timestamp, _, text = line.partition(" ")
        if timestamp <= self._last:  # copied before the connection broke; timestamps sort as text
            return
        self._last = timestamp
        if found := PROGRESS.fullmatch(text):
            done, total, message = found.groups()
            progress.report("train", message, float(done) if done else None, float(total) if total else None)
        else:
            print(text, file=sys.stderr, flush=True)
