"""Questions to the pods of a revision, past the gateway and past the split of traffic."""

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
    """What a pod said to one text."""

    reply: Reply | None
    """None when it failed."""
    ms: float | None
    """With the way through the API server; None when it failed."""


class Side(NamedTuple):
    """A revision and its pods; None and none where there is no such."""

    revision: Revision | None
    pods: Sequence[Any]


def pairs(api: ServiceApi, champion: Side, challenger: Side, texts: Sequence[str], in_turn: bool) -> list[Pair]:
    """Both revisions' answers, in the order of the texts.

    Args:
        api: of the service.
        champion: whose pods are asked in turn.
        challenger: likewise.
        texts: what they are asked.
        in_turn: one request after the other, so that none slows another, and each revision first every other time;
            else a few at the same time.
    """
    questions = [
        (side.pods, i, text) for i, text in enumerate(texts) for side in (champion, challenger)[:: -1 if i % 2 else 1]
    ]
    with ThreadPoolExecutor(1 if in_turn else THREADS) as pool:
        answers = list(pool.map(lambda given: answer(api, *given), questions))
    both = [answers[2 * i : 2 * i + 2][:: -1 if i % 2 else 1] for i in range(len(texts))]
    sides = (champion, challenger)
    return [_pair(sides, answered, text) for answered, text in zip(both, texts, strict=True)]


def answer(api: ServiceApi, pods: Sequence[Any], number: int, text: str) -> Answer:
    """The answer of one of the pods."""
    if not pods:
        return Answer(None, None)
    pod = pods[number % len(pods)]
    began = time.perf_counter()
    status, body = api.ask_pod(pod, path(api.name, "infer"), infer_request([text]), COMPARISON | credentials())
    ms = 1000 * (time.perf_counter() - began)
    reply = reply_of(status, body)
    return Answer(reply, None if reply is None else ms)


def _pair(sides: tuple[Side, Side], answers: Sequence[Answer], text: str) -> Pair:
    labels = [
        label_of(answer.reply, side.revision) if side.revision else None
        for side, answer in zip(sides, answers, strict=True)
    ]
    old, new = (None if label is None else answer.ms for label, answer in zip(labels, answers, strict=True))
    return Pair(labels[0], labels[1], old, new, text_key(text))
