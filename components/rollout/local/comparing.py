"""Puts the same texts to both revisions, past the proxy."""

from collections.abc import Sequence

from slipway.components.rollout.local.client import Answer, RestClient
from slipway.components.rollout.local.state import Server
from slipway.components.rollout.probe_request import label_of
from slipway.components.rollout.probes import text_key
from slipway.components.rollout.target import Pair


def at_once(client: RestClient, sides: tuple[Server | None, Server | None], texts: Sequence[str]) -> list[Pair]:
    """Quickly, several texts at the same time; times say little then."""
    questions = [(server.http_port, text) for text in texts for server in sides if server]
    answers = iter(client.ask_all(questions))
    return [_pair(text, sides, [next(answers) if server else None for server in sides]) for text in texts]


def in_turn(client: RestClient, sides: tuple[Server | None, Server | None], texts: Sequence[str]) -> list[Pair]:
    """One request after the other, so that none slows another; each revision is first every other time."""
    pairs = []
    for number, text in enumerate(texts):
        turn = -1 if number % 2 else 1
        answers = [client.ask(server.http_port, text) if server else None for server in sides[::turn]]
        pairs.append(_pair(text, sides, answers[::turn]))
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
