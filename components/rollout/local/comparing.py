"""Sends the same texts to both revisions directly, past the proxy, for the local target."""

from collections.abc import Sequence

from slipway.components.rollout.local.client import Answer, RestClient
from slipway.components.rollout.local.state import Server
from slipway.components.rollout.probe_request import label_of
from slipway.components.rollout.probes import text_key
from slipway.components.rollout.target import Pair


def at_once(client: RestClient, sides: tuple[Server | None, Server | None], texts: Sequence[str]) -> list[Pair]:
    """Compare quickly, with several requests at a time; they slow each other, so the latencies are not comparable.

    Args:
        client: sends the requests.
        sides: the servers of champion and challenger; None where there is none.
        texts: the texts.
    """
    requests = [(server.http_port, text) for text in texts for server in sides if server]
    answers = iter(client.ask_all(requests))
    return [_pair(text, sides, [next(answers) if server else None for server in sides]) for text in texts]


def in_turn(client: RestClient, sides: tuple[Server | None, Server | None], texts: Sequence[str]) -> list[Pair]:
    """Compare one request after the other, so that none slows another and the latencies are comparable.

    Each revision is first every other time, so that neither gains from the order. Arguments are those of `at_once`.
    """
    pairs = []
    for number, text in enumerate(texts):
        order = -1 if number % 2 else 1
        answers = [client.ask(server.http_port, text) if server else None for server in sides[::order]]
        pairs.append(_pair(text, sides, answers[::order]))
    return pairs


def _pair(text: str, sides: tuple[Server | None, Server | None], answers: Sequence[Answer | None]) -> Pair:
    labels = [
        label_of(answer.reply, server.revision) if server and answer else None
        for server, answer in zip(sides, answers, strict=True)
    ]
    old, new = (
        answer.ms if answer and label is not None else None for answer, label in zip(answers, labels, strict=True)
    )
    return Pair(labels[0], labels[1], old, new, text_key(text))
