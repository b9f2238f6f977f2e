"""Sends prediction requests to the pods of a revision directly, past the gateway, for the KServe target."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from slipway.components.clients.v2_protocol import infer_request, path
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.endpoint import credentials
from slipway.components.rollout.probe_request import COMPARISON, Reply, label_of, reply_of
from slipway.components.rollout.probes import text_key
from slipway.components.rollout.target import Pair, Revision

THREADS = 4


class Answer(NamedTuple):
    """The response of a pod to one text."""

    reply: Reply | None
    """The prediction; None when it failed."""
    ms: float | None
    """Latency in ms, which includes the way through the API server; None when the prediction failed."""


class Side(NamedTuple):
    """A revision and its pods; None and no pods where there is no such revision."""

    revision: Revision | None
    pods: Sequence[Any]


def pairs(api: ServiceApi, champion: Side, challenger: Side, texts: Sequence[str], in_turn: bool) -> list[Pair]:
    """Both revisions' answers, in the order of the texts.

    Args:
        api: of the service.
        champion: its pods get requests in turn.
        challenger: likewise.
        texts: the texts.
        in_turn: send one request after the other, so that none slows another, with each revision first every other
            time. Otherwise several at a time.
    """
    requests = [
        (side.pods, i, text) for i, text in enumerate(texts) for side in (champion, challenger)[:: -1 if i % 2 else 1]
    ]
    with ThreadPoolExecutor(1 if in_turn else THREADS) as pool:
        answers = list(pool.map(lambda request: answer(api, *request), requests))
    by_text = [answers[2 * i : 2 * i + 2][:: -1 if i % 2 else 1] for i in range(len(texts))]
    sides = (champion, challenger)
    return [_pair(sides, both, text) for both, text in zip(by_text, texts, strict=True)]


def answer(api: ServiceApi, pods: Sequence[Any], number: int, text: str) -> Answer:
    """Send one text to the pod `number` modulo the number of pods."""
    if not pods:
        return Answer(None, None)
    pod = pods[number % len(pods)]
    start = time.perf_counter()
    status, body = api.ask_pod(pod, path(api.name, "infer"), infer_request([text]), COMPARISON | credentials())
    ms = 1000 * (time.perf_counter() - start)
    reply = reply_of(status, body)
    return Answer(reply, None if reply is None else ms)


def _pair(sides: tuple[Side, Side], answers: Sequence[Answer], text: str) -> Pair:
    labels = [
        label_of(answer.reply, side.revision) if side.revision else None
        for side, answer in zip(sides, answers, strict=True)
    ]
    old, new = (None if label is None else answer.ms for label, answer in zip(labels, answers, strict=True))
    return Pair(labels[0], labels[1], old, new, text_key(text))
