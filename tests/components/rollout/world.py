"""A rollout target in memory with scripted revisions and a clock of its own, and what kills a driver at any moment."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest

from slipway.components.errors import RevisionFailed, SlipwayError
from slipway.components.rollout.driver import Driver
from slipway.components.rollout.probes import Probes, text_key
from slipway.components.rollout.result import RolloutResult
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import RolloutState, from_json
from slipway.components.rollout.target import Counts, Pair, Revision, histogram
from tests.components.present import present

WIDE: dict[str, Any] = {"bake_s": 0.0, "max_error_rise": 0.05, "max_slow_rise": 0.15, "max_accuracy_drop": 0.1}
"""Settings with which a rollout is soon decided."""
LABELS = ["billing", "delivery", "account"]
OLD, NEW = Revision("1", "/bundles/1", "sha256:1"), Revision("2", "/bundles/2", "sha256:2")


class Killed(BaseException):
    """The driver's process dies here."""


@dataclass
class Behaviour:
    """What a revision does; shares are spread evenly, without chance."""

    failing: float = 0.0
    labels_fail: bool = True
    """Whether texts that are asked directly fail as requests do."""
    wrong: float = 0.0
    wrong_for_clients: float = 0.0
    latency_ms: float = 5.0
    refuses: bool = False
    never_ready: bool = False
    crashes_after: int | None = None
    """Requests from clients and probes."""
    turns_bad_after: int | None = None
    """Requests from clients and probes; of later ones, half fail."""


@dataclass
class Seen:
    """What one revision did with the traffic."""

    requests: int = 0
    errors: int = 0
    latencies: list[float] = field(default_factory=list)


class FakeTarget:
    """Implements `RolloutTarget`; lives on when a driver is killed, as a real service does."""

    def __init__(self, champion: Revision | None, behaviours: dict[str, Behaviour]) -> None:
        self.behaviours = behaviours
        self.serving: Revision | None = champion
        self.candidate: Revision | None = None
        self.percent, self.clock = 0, 0.0
        self.seen: dict[str, Seen] = {}
        self.kept: str | None = None
        self.held = False
        self.routed = 0
        self.clients_per_second = self.clients_due = 0.0
        self.client_errors = 0
        self.max_percent = 0
        self.resets = 0
        self.copying, self.shadowed = 0, 0
        self.sticky, self.can_stick = "", True
        self.client_texts: Callable[[float], list[str]] = lambda clock: []  # noqa: ARG005

    def now(self) -> float:
        return self.clock

    def pause(self, seconds: float) -> None:
        """Time passes, in which clients send requests."""
        self.clock += seconds
        self.clients_due += seconds * self.clients_per_second
        while self.clients_due >= 1:
            self.clients_due -= 1
            self.client_errors += not self._route()

    def _route(self) -> bool:
        """One request through the public endpoint; whether it succeeded."""
        self.routed += 1
        to_new = self.candidate is not None and (self.routed * self.percent) % 100 < self.percent
        revision = self.candidate if to_new else self.serving
        if revision is None:
            return False
        behaviour, seen = self.behaviours[revision.version], self.seen.setdefault(revision.version, Seen())
        seen.requests += 1
        turned = behaviour.turns_bad_after is not None and seen.requests > behaviour.turns_bad_after
        if self._spread(seen.requests, 0.5 if turned else behaviour.failing):
            seen.errors += 1
            return False
        seen.latencies.append(behaviour.latency_ms)
        return True

    @staticmethod
    def _spread(index: int, share: float) -> bool:
        return int(index * share) > int((index - 1) * share)

    def _check(self) -> None:
        if self.candidate is None:
            return
        behaviour = self.behaviours[self.candidate.version]
        requests = self.seen.get(self.candidate.version, Seen()).requests
        if behaviour.crashes_after is not None and requests >= behaviour.crashes_after:
            raise RevisionFailed("the model server of version 2 ended: out of memory")

    def champion(self) -> Revision | None:
        return self.serving

    def deploy(self, revision: Revision) -> None:
        if self.candidate != revision:
            assert self.candidate is None, "two challengers"
            self.candidate, self.percent, self.seen = revision, 0, {}

    def wait_ready(self, revision: Revision, timeout_s: float) -> None:
        assert self.candidate == revision
        if self.behaviours[revision.version].refuses:
            raise RevisionFailed("BundleRefused: model.onnx was altered")
        if self.behaviours[revision.version].never_ready:
            self.pause(timeout_s)
            raise RevisionFailed(f"version {revision.version} was not ready within {timeout_s:g} s")
        self.pause(3.0)

    def set_traffic(self, percent: int) -> None:
        self._check()
        self.percent = percent
        self.max_percent = max(self.max_percent, percent)

    def observe(self) -> dict[str, Counts]:
        self._check()
        return {v: Counts(s.requests, s.errors, histogram(s.latencies)) for v, s in self.seen.items()}

    def send(self, texts: Sequence[str]) -> int:
        for _ in texts:
            self._route()
        self.pause(0.01 * len(texts))
        return len(texts)

    def compare(self, texts: Sequence[str]) -> list[Pair]:
        self._check()
        self.pause(0.01 * len(texts))
        return [Pair(self._answer(self.serving, text), self._answer(self.candidate, text)) for text in texts]

    def _answer(self, revision: Revision | None, text: str) -> str | None:
        if revision is None:
            return None
        index, behaviour = int(text.split()[-1]), self.behaviours[revision.version]
        if (behaviour.labels_fail or self.copying) and self._spread(index + 1, behaviour.failing):
            return None
        if text.startswith("client"):
            return LABELS[(index + self._spread(index + 1, behaviour.wrong_for_clients)) % 3]
        return LABELS[(index + self._spread(index + 1, behaviour.wrong)) % 3]

    def shadow(self, percent: int) -> None:
        self._check()
        self.copying = percent

    def shadow_pairs(self, texts: Sequence[str]) -> list[Pair]:
        assert self.copying
        texts = self.client_texts(self.clock) or texts[:: max(100 // self.copying, 1)]
        self.shadowed += len(texts)
        latency = [None if r is None else self.behaviours[r.version].latency_ms for r in (self.serving, self.candidate)]
        return [
            replace(pair, champion_ms=latency[0], challenger_ms=latency[1], key=text_key(text))
            for pair, text in zip(self.compare(texts), texts, strict=True)
        ]

    def stick(self, header: str) -> bool:
        self.sticky = header if self.can_stick else ""
        return self.sticky == header

    def promote(self) -> None:
        self._check()
        self.copying = 0
        if self.candidate:
            self.serving, self.candidate, self.percent = self.candidate, None, 0

    def rollback(self) -> None:
        self.candidate, self.percent, self.copying = None, 0, 0

    def load_state(self) -> dict[str, Any] | None:
        return json.loads(self.kept) if self.kept else None

    def save_state(self, state: dict[str, Any] | None) -> None:
        self.kept = json.dumps(state, allow_nan=False) if state else None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        if self.held:
            raise SlipwayError("held by process 7")
        self.held = True
        try:
            yield
        finally:
            self.held = False


class FakeAliases:
    """The registry's aliases."""

    def __init__(self, champion: str | None) -> None:
        self.champion: str | None = champion
        self.challenger: str | None = None
        self.rejected: dict[str, str] = {}

    def nominate(self, version: str) -> None:
        self.challenger = version

    def promote(self, version: str) -> None:
        self.champion, self.challenger = version, None

    def reject(self, version: str, reason: str) -> None:
        assert self.champion != version
        self.rejected[version], self.challenger = reason, None


class Mortal:
    """Passes calls on, and kills whoever calls before or after the call with a given number."""

    def __init__(self, inner: Any, calls: list[str], kill_at: int | None, after: bool) -> None:
        self.inner, self.calls, self.kill_at, self.after = inner, calls, kill_at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name == "lock" or not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            dies = len(self.calls) - 1 == self.kill_at
            if dies and not self.after:
                raise Killed
            try:
                return found(*arguments)
            finally:
                if dies:
                    raise Killed

        return call


@dataclass
class World:
    """A target, a registry and the means to run drivers on them."""

    target: FakeTarget
    aliases: FakeAliases
    settings: RolloutSettings
    probes: Probes
    calls: list[str] = field(default_factory=list)
    floor: float = 0.0
    """Of the gate."""

    def run(self, revision: Revision = NEW, kill_at: int | None = None, after: bool = False) -> RolloutResult:
        """One driver's life; the numbers of calls go on over several drivers."""
        target, aliases = (Mortal(inner, self.calls, kill_at, after) for inner in (self.target, self.aliases))
        driver = Driver(target, aliases, self.probes, self.settings, self.target.now, self.target.pause, self.floor)
        return driver.run(revision)

    def served(self) -> str | None:
        """The version that the target has as champion, if it has one."""
        champion = self.target.champion()
        return champion.version if champion else None

    def kept(self) -> RolloutState:
        """What the target keeps of a rollout that has not ended."""
        return from_json(present(self.target.load_state()))


class NewWorld(Protocol):
    """Makes a world; settings are those of the rollout."""

    def __call__(
        self,
        new: Behaviour | None = None,
        old: Behaviour | None = None,
        first: bool = False,
        floor: float = 0.0,
        **settings: Any,
    ) -> World: ...


def shares_given(patch: pytest.MonkeyPatch, target: FakeTarget, method: str) -> list[int]:
    """The shares that a method of the target is called with from now on, as they come; it does its work as before."""
    shares: list[int] = []
    usual = getattr(target, method)

    def noted(percent: int) -> None:
        shares.append(percent)
        usual(percent)

    patch.setattr(target, method, noted)
    return shares
