"""A service on this machine with its registry and keys, and clients that send to it without pause."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from slipway.components.artifacts import signing
from slipway.components.artifacts.bundle import Bundle
from slipway.components.errors import SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import step
from slipway.components.rollout.local import access, state
from slipway.components.rollout.local.envoy_config import VERSION_HEADER
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.local.processes import Daemon
from slipway.components.rollout.local.state import State
from slipway.components.rollout.request import RolloutRequest
from slipway.components.rollout.result import RolloutResult
from slipway.components.rollout.served_model import RevisionStatus
from slipway.components.rollout.settings import RolloutSettings
from tests.local import bad_bundles


@dataclass
class Site:
    """A service with its registry and keys, and what makes bundles for it."""

    folder: Path
    dataset: Path
    draft: Path
    settings: RolloutSettings
    made: int = 0

    @property
    def service(self) -> Path:
        return self.folder / "service"

    @property
    def model(self) -> LocalModel:
        """What it serves, for people."""
        return LocalModel(self.service, self.tracking_uri)

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def keys(self) -> signing.KeyPair:
        return signing.key_pair(self.folder / "keys")

    @property
    def registry(self) -> Registry:
        return Registry(self.tracking_uri, "messages")

    def champion(self) -> Version:
        """The registry's champion, which there must be."""
        found = self.registry.champion()
        assert found is not None
        return found

    def previous(self) -> Version:
        """The registry's champion before this one, which there must be."""
        found = self.registry.previous()
        assert found is not None
        return found

    def state(self) -> State:
        """What the service keeps, which there must be."""
        found = state.load(self.service)
        assert found is not None
        return found

    def process(self) -> Daemon:
        """The process of the champion's model server, which there must be."""
        champion = self.state().champion
        assert champion is not None
        assert champion.daemon is not None
        return champion.daemon

    def champion_status(self) -> RevisionStatus:
        """What people are told of the champion, which there must be."""
        found = self.model.status().champion
        assert found is not None
        return found

    def bundle(self, kind: str, **options: Any) -> Path:
        """A new bundle, made by a function of `bad_bundles`."""
        self.made += 1
        folder = self.folder / "bundles" / f"{self.made}-{kind}"
        make: Callable[..., Path] = getattr(bad_bundles, kind)
        return make(self.draft, folder, self.keys.private_key, **options)

    def good(self) -> Path:
        return self.bundle("signed_copy", note=f"copy {self.made}")

    def arguments(self, bundle: Path, **changes: Any) -> dict[str, Any]:
        digest = Bundle(bundle).digest()
        version = self.registry.find("digest", digest) or self.registry.register(str(bundle), digest, {})
        given = {"version": version.version, "bundle_uri": str(bundle), "digest": digest, "dataset": self.dataset}
        given |= {"settings": self.settings, "tracking_uri": self.tracking_uri, "model_name": "messages"}
        return given | {"service": self.service, "public_key": self.keys.public_key} | changes

    def roll_out(self, bundle: Path, **changes: Any) -> RolloutResult:
        return step.run(RolloutRequest(**self.arguments(bundle, **changes)))

    def serving(self) -> str:
        """The version that answers clients."""
        answer = self.ask("my parcel is late")
        assert answer.status_code == 200
        return answer.headers[VERSION_HEADER]

    def ask(self, text: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.settings.http_port}/v2/models/messages/infer"
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        return httpx.post(url, json={"inputs": [given]}, headers=self.headers, timeout=30, trust_env=False)

    @property
    def headers(self) -> dict[str, str]:
        """With the key of the service."""
        return access.headers(self.service, auth=True)


class Clients:
    """Clients that send without pause, over REST and gRPC, while the block runs."""

    def __init__(self, site: Site, texts: list[str]) -> None:
        self.site, self.texts = site, texts
        self.answers: Counter[tuple[str, bool]] = Counter()
        self.failed_at: set[str | None] = set()
        """Versions whose REST answers were failures."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._rest, self._grpc)]

    def _rest(self) -> None:
        url = f"http://127.0.0.1:{self.site.settings.http_port}/v2/models/messages/infer"
        with httpx.Client(headers=self.site.headers, timeout=30, trust_env=False) as http:
            while not self._over.is_set():
                for text in self.texts:
                    given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
                    try:
                        answer = http.post(url, json={"inputs": [given]})
                        good, version = answer.status_code == 200, answer.headers.get(VERSION_HEADER)
                    except httpx.HTTPError:
                        good, version = False, None
                    self.answers["rest", good] += 1
                    if not good:
                        self.failed_at.add(version)

    def _grpc(self) -> None:
        client = self.site.model.client(grpc=True)
        while not self._over.is_set():
            for text in self.texts:
                try:
                    client.predict([text])
                    good = True
                except SlipwayError:
                    good = False
                self.answers["grpc", good] += 1

    def _answered(self) -> list[int]:
        """Answers to each protocol's client so far, good and bad ones."""
        return [self.answers[kind, True] + self.answers[kind, False] for kind in ("rest", "grpc")]

    @property
    def failures(self) -> int:
        return self.answers["rest", False] + self.answers["grpc", False]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        before, end = self._answered(), time.monotonic() + 30
        while any(now < then + 5 for now, then in zip(self._answered(), before, strict=True)):
            if time.monotonic() > end:
                break  # whoever asked for the block sees it: nobody was answered
            time.sleep(0.01)  # the end of the old server is part of what clients must not notice
        self._over.set()
        for thread in self._threads:
            thread.join()
