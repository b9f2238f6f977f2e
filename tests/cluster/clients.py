"""Clients that ask a served model through the gateway without pause, and keep what they were answered."""

import threading
import time
from collections import Counter
from contextlib import AbstractContextManager

import httpx

from slipway.components.clients.v2_protocol import infer_request, path
from slipway.components.rollout.kserve.endpoint import Endpoint, credentials


class Clients(AbstractContextManager["Clients"]):
    """A few clients, from the entry to the end of a `with` block.

    Args:
        endpoint: of the model.
        model: its name.
        texts: sent in turn.
        count: of clients.
    """

    def __init__(self, endpoint: Endpoint, model: str, texts: list[str], count: int = 2) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        """By status and model version (empty for a failure)."""
        self.failures: list[str] = []
        self._endpoint, self._path, self._texts = endpoint, path(model, "infer"), texts
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def by_version(self) -> dict[str, int]:
        """Good answers so far, by the version that gave them."""
        return {version: count for (status, version), count in self.answers.items() if status == httpx.codes.OK}

    def wait_for(self, version: str) -> None:
        """Return when that version has answered a client."""
        while version not in self.by_version():
            time.sleep(0.05)

    def _ask(self, number: int) -> None:
        headers = self._endpoint.headers | credentials()
        with httpx.Client(base_url=self._endpoint.base, headers=headers, timeout=60.0, trust_env=False) as http:
            while not self._stop.is_set():
                number += 1
                text = self._texts[number % len(self._texts)]
                try:
                    answer = http.post(self._path, json=infer_request([text]))
                except httpx.HTTPError as error:
                    self.answers[0, ""] += 1
                    self.failures.append(repr(error))
                    continue
                good = answer.status_code == httpx.codes.OK
                self.answers[answer.status_code, answer.json()["model_version"] if good else ""] += 1
                if not good:
                    self.failures.append(f"{answer.status_code} {answer.text[:200]}")
                self._stop.wait(0.01)
