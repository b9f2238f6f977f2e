"""A rollout on this machine, real model servers and Envoy, while a stranger without a key sends most requests."""

import threading
from collections import Counter
from types import TracebackType

import httpx
import pytest

from tests.local.site import Site

pytestmark = pytest.mark.local
RARE = "z"
"""A word that no labelled text has, and on which the challenger raises."""
LARGE = "x" * 1_000_000


class Senders:
    """One client with a key, a few requests a second, and strangers without pause, while the block runs."""

    def __init__(self, site: Site) -> None:
        self._url = f"http://127.0.0.1:{site.settings.http_port}/v2/models/messages/infer"
        self._over = threading.Event()
        marked = {"x-slipway-source": "comparison"}
        given = (("client", site.headers, f"the invoice {RARE}", 0.05), ("stranger", marked, "parcel", 0.0))
        large: tuple[str, dict[str, str], str, float] = ("large", {}, LARGE, 0.2)
        self._threads = [threading.Thread(target=self._send, args=sender) for sender in (*given, given[1], large)]
        self.statuses: Counter[tuple[str, int]] = Counter()

    def _send(self, name: str, headers: dict[str, str], text: str, pause_s: float) -> None:
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
        with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
            while not self._over.wait(pause_s):
                try:
                    status = http.post(self._url, json=body).status_code
                except httpx.TransportError:  # a large body is refused while it is sent
                    status = 0
                self.statuses[name, status] += 1

    def sent(self, name: str) -> int:
        return sum(count for (who, _), count in self.statuses.items() if who == name)

    def __enter__(self) -> "Senders":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_stranger_does_not_hide_a_challenger_on_which_every_client_fails(site: Site) -> None:
    before = site.serving()
    settings = site.settings.model_copy(update={"shadow_requests": 0})
    with Senders(site) as senders:
        result = site.roll_out(site.bundle("raising", word=RARE), settings=settings)
    assert result.outcome == "rolled_back"
    assert "errors" in result.reason
    assert {status for (name, status) in senders.statuses if name == "stranger"} == {401}
    assert senders.sent("stranger") > 5 * senders.sent("client")
    assert result.requests.champion_errors == 0
    assert result.requests.clients <= senders.sent("client")
    assert site.serving() == before
