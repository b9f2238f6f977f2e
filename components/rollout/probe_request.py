"""What the answer to a rollout's request for one text says, wherever the rollout asks."""

import json
from typing import NamedTuple

from slipway.components.clients.v2_protocol import UNREADABLE, Answer
from slipway.components.rollout.target import Revision

OK = 200
COMPARISON = {"x-slipway-source": "comparison"}
"""A rollout's questions are no client's: the model servers count them apart, and leave them out of drift."""


class Reply(NamedTuple):
    """What an answer says."""

    label: str
    """Of the one text."""
    digest: str
    """Of the bundle that answered."""


def reply_of(status: int, body: bytes) -> Reply | None:
    """What an answer says; None when the prediction failed."""
    if status != OK:
        return None
    try:
        answer = Answer(json.loads(body))
        return Reply(answer.labels[0], answer.bundle_digest)
    except UNREADABLE:
        return None


def label_of(reply: Reply | None, revision: Revision) -> str | None:
    """The label, if it is an answer of the revision; what another bundle says in its place is none."""
    return reply.label if reply and reply.digest == revision.digest else None


def foreign(reply: Reply | None, revision: Revision) -> str | None:
    """That another bundle than the revision's answered, in words; None when none did."""
    if reply is None or reply.digest == revision.digest:
        return None
    return (
        f"the server of version {revision.version} answers with the bundle {reply.digest[:100]}; registered was "
        f"{revision.digest}"
    )
